//! `GET /v1/me`

use axum::{Json, extract::State};
use serde::Serialize;
use servicekit::{
    Actor, Caller, Problem,
    scope::{MembersRead, PlatformAdmin, Scope as _},
};
use shared_models::{ApiKeyId, ProblemBody, Role, TeamId};

use crate::{
    App,
    store::{self, tenant::Tenant, user::User},
};

/// Whom the credentials of this request stand for.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Me {
    user: User,
    tenant: Tenant,
    role: Option<Role>,
    teams: Vec<TeamId>,
    /// What these credentials allow.
    scopes: Vec<String>,
    /// Whether content is shown, or only that there is some.
    can_view_payloads: bool,
    /// Whether they may run the platform with these credentials.
    platform_admin: bool,
    /// The API key that was used.
    api_key_id: Option<ApiKeyId>,
}

/// Who am I?
#[utoipa::path(get, path = "/v1/me", tag = "identity", security(("token" = ["members:read"])),
    responses((status = 200, body = Me), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_me(
    State(app): State<App>,
    caller: Caller<MembersRead>,
) -> Result<Json<Me>, Problem> {
    let id = caller.person()?;
    let claims = app.verifier.verify(caller.token()).await?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let user = store::user::find(&mut tx, id).await?;
    let tenant = store::tenant::find(&mut tx, caller.tenant).await?;
    tx.commit().await?;
    let gone = || Problem::not_found("such member any more");
    let key = match caller.actor {
        Actor::User { key, .. } => key,
        Actor::Service { .. } => None,
    };
    Ok(Json(Me {
        user: user.ok_or_else(gone)?,
        tenant: tenant.ok_or_else(gone)?,
        role: caller.role,
        platform_admin: claims.scopes.iter().any(|scope| scope == PlatformAdmin::NAME),
        scopes: claims.scopes.clone(),
        can_view_payloads: caller.payloads,
        teams: caller.teams,
        api_key_id: key,
    }))
}
