//! `DELETE /v1/api-keys/{key_id}`

use axum::{extract::State, http::StatusCode};
use serde_json::json;
use servicekit::{Caller, Path, Problem, scope::KeysWrite};
use shared_models::{ApiKeyId, ProblemBody};

use super::Changer;
use crate::{App, Error, origin::Origin, store};

/// Revoke an API key: one's own, or anybody's for administrators.
///
/// It stops working within seconds. Revoking a revoked key changes nothing.
#[utoipa::path(delete, path = "/v1/api-keys/{key_id}", tag = "identity", params(("key_id" = ApiKeyId, Path)),
    security(("token" = ["keys:write"])),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub(crate) async fn revoke_api_key(
    State(app): State<App>,
    caller: Caller<KeysWrite>,
    origin: Origin,
    Path(id): Path<ApiKeyId>,
) -> Result<StatusCode, Problem> {
    let me = caller.person()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let owner = store::api_key::find_user(&mut tx, id).await?;
    let owner = owner.filter(|&owner| owner == me || caller.is_admin()).ok_or(Error::NoKey(id))?;
    if store::api_key::revoke(&mut tx, id).await? {
        let detail = json!({ "user_id": owner });
        let changer = Changer::new(&caller, origin);
        store::audit::append(&mut tx, caller.tenant, changer.by(), "api_key.revoked", id, &detail)
            .await?;
    }
    tx.commit().await?;
    app.keys.forget();
    Ok(StatusCode::NO_CONTENT)
}
