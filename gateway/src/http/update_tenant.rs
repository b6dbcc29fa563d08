//! `PATCH /v1/tenant`

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use servicekit::{Body, Caller, IfMatch, Problem, Tagged, merge_patch, scope::MembersWrite};
use shared_models::ProblemBody;

use super::{Changer, all_right, email, name};
use crate::{
    App,
    origin::Origin,
    store::{self, tenant::Tenant},
};

/// What administrators may change of their tenant.
#[derive(Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantPatch {
    #[schema(required = false)]
    name: String,
    /// Null for none.
    contact_email: Option<String>,
}

/// Change the tenant (a merge patch).
#[utoipa::path(patch, path = "/v1/tenant", tag = "identity", request_body = TenantPatch,
    params(("If-Match" = Option<String>, Header)), security(("token" = ["members:write"])),
    responses((status = 200, body = Tenant, headers(("ETag" = String))), (status = "default", body = ProblemBody)))]
pub(crate) async fn update_tenant(
    State(app): State<App>,
    caller: Caller<MembersWrite>,
    origin: Origin,
    expected: IfMatch,
    Body(patch): Body<Value>,
) -> Result<Tagged<Tenant>, Problem> {
    let gone = || Problem::not_found("such tenant");
    let mut tx = app.db.begin(caller.tenant).await?;
    store::tenant::hold(&mut tx).await?;
    let present = store::tenant::find(&mut tx, caller.tenant).await?.ok_or_else(gone)?;
    expected.check(present.version)?;
    let before = TenantPatch { name: present.name, contact_email: present.contact_email };
    let mut wanted = merge_patch(&before, &patch)?;
    wanted.check()?;
    store::tenant::update(&mut tx, &wanted.name, wanted.contact_email.as_deref()).await?;
    let detail = json!({ "before": before, "after": wanted });
    let changer = Changer::new(&caller, origin);
    store::audit::append(
        &mut tx,
        caller.tenant,
        changer.by(),
        "tenant.updated",
        caller.tenant,
        &detail,
    )
    .await?;
    let changed = store::tenant::find(&mut tx, caller.tenant).await?.ok_or_else(gone)?;
    tx.commit().await?;
    Ok(Tagged(changed.version, changed))
}

impl TenantPatch {
    fn check(&mut self) -> Result<(), crate::Error> {
        let mut errors = Vec::new();
        self.name = name("/name", &self.name, &mut errors);
        if let Some(text) = &self.contact_email {
            self.contact_email = Some(email("/contact_email", text, &mut errors));
        }
        all_right(errors)
    }
}
