//! `GET /v1/me`

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
};
use serde::Serialize;
use servicekit::{
    Problem, codes,
    scope::{PlatformAdmin, Scope as _},
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
///
/// For every key, whatever it is limited to.
#[utoipa::path(get, path = "/v1/me", tag = "identity", security(("token" = [])),
    responses((status = 200, body = Me), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_me(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Json<Me>, Problem> {
    // No `Caller`, because that is always one who holds some scope.
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|text| text.strip_prefix("Bearer "));
    let token = token
        .ok_or_else(|| Problem::new(&codes::UNAUTHENTICATED, "send `Authorization: Bearer …`"))?;
    let claims = app.verifier.verify(token).await?;
    let id = claims
        .user
        .ok_or_else(|| Problem::new(&codes::NOT_ALLOWED, "only a person may ask who they are"))?;
    let mut tx = app.db.begin(claims.tenant).await?;
    let user = store::user::find(&mut tx, id).await?;
    let tenant = store::tenant::find(&mut tx, claims.tenant).await?;
    tx.commit().await?;
    let gone = || Problem::not_found("such member any more");
    Ok(Json(Me {
        user: user.ok_or_else(gone)?,
        tenant: tenant.ok_or_else(gone)?,
        role: claims.role,
        platform_admin: claims.scopes.iter().any(|scope| scope == PlatformAdmin::NAME),
        scopes: claims.scopes.clone(),
        can_view_payloads: claims.payloads,
        teams: claims.teams.clone(),
        api_key_id: claims.key,
    }))
}
