//! `POST /v1/tenants`

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use servicekit::{Body, Caller, Created, FieldError, Once, Problem, scope::PlatformAdmin};
use shared_models::{ProblemBody, TeamId, TenantId, UserId};

use super::{Changer, all_right, email, name};
use crate::{
    App, Error,
    found_tenant::{Founding, is_slug, slug_of},
    origin::Origin,
    store::{self, tenant::Tenant},
};

/// A tenant to be.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTenant {
    name: String,
    /// Its name in addresses: lowercase letters, digits and hyphens; made from the name when absent.
    #[serde(default)]
    slug: Option<String>,
    #[serde(default)]
    #[schema(required = false)]
    kind: Kind,
    /// The address of its first owner, who is found or made.
    owner_email: String,
}

/// What a tenant is.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// One person's.
    Personal,
    /// Of many.
    #[default]
    Organization,
}

/// A new tenant and the way in. `secret` is shown this once.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct CreatedTenant {
    tenant: Tenant,
    owner_id: UserId,
    default_team_id: TeamId,
    /// The owner's first API key. Null when the answer to an Idempotency-Key is repeated.
    secret: Option<String>,
}

/// Make a tenant with its default team, its first owner and a first API key.
#[utoipa::path(post, path = "/v1/tenants", tag = "platform", request_body = NewTenant,
    params(("Idempotency-Key" = Option<String>, Header)), security(("token" = ["platform:admin"])),
    responses((status = 201, body = CreatedTenant), (status = "default", body = ProblemBody)))]
pub(crate) async fn create_tenant(
    State(app): State<App>,
    caller: Caller<PlatformAdmin>,
    origin: Origin,
    mut once: Once,
    Body(new): Body<NewTenant>,
) -> Result<Response, Problem> {
    let founding = new.check()?;
    let id = TenantId::mint();

    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(answer) = once.begin(&mut tx, &caller, &new).await? {
        return Ok(answer);
    }
    store::tenant::widen(&mut tx, id).await?;
    let changer = Changer::new(&caller, origin);
    let founded = founding.carry_out(&mut tx, id, changer.by()).await?;
    let detail = json!({ "slug": founding.slug, "owner_id": founded.owner });
    store::audit::append(&mut tx, caller.tenant, changer.by(), "tenant.created", id, &detail)
        .await?;
    let tenant = store::tenant::find(&mut tx, id).await?;
    let mut created = CreatedTenant {
        tenant: tenant.ok_or_else(|| Problem::not_found("such tenant"))?,
        owner_id: founded.owner,
        default_team_id: founded.team,
        secret: None,
    };
    once.remember(&mut tx, StatusCode::CREATED, &created).await?;
    tx.commit().await?;
    app.relay.ring();
    created.secret = Some(founded.key.expose_secret().to_owned());
    Ok(Created(created).into_response())
}

impl NewTenant {
    fn check(&self) -> Result<Founding, Error> {
        let mut errors = Vec::new();
        let called = name("/name", &self.name, &mut errors);
        let slug = self.slug.clone().unwrap_or_else(|| slug_of(&called));
        if !is_slug(&slug) {
            let message = "1 to 63 lowercase letters, digits and inner hyphens";
            errors.push(FieldError::new("/slug", message));
        }
        let owner_email = email("/owner_email", &self.owner_email, &mut errors);
        all_right(errors)?;
        let kind = match self.kind {
            Kind::Personal => "personal",
            Kind::Organization => "organization",
        };
        Ok(Founding { kind, name: called, slug, owner_email })
    }
}
