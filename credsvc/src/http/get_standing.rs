//! `GET /internal/credentials/{credential_id}/standing`

use axum::{Json, extract::State};
use serde::Serialize;
use servicekit::{Actor, Caller, Path, Problem, scope::CredentialsResolve};
use shared_models::{CredentialId, ProblemBody};

use crate::{
    App, Error,
    store::{self, credential::Health},
};

/// What a credential is good for now.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Standing {
    credential_id: CredentialId,
    health: Health,
}

/// See whether a credential works, without its secret.
///
/// For services that wait until somebody has connected it again. Nothing is given out, so nothing is audited.
#[utoipa::path(get, path = "/internal/credentials/{credential_id}/standing", tag = "internal",
    params(("credential_id" = CredentialId, Path)), security(("token" = ["credentials:resolve"])),
    responses((status = 200, body = Standing), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_standing(
    State(app): State<App>,
    caller: Caller<CredentialsResolve>,
    Path(id): Path<CredentialId>,
) -> Result<Json<Standing>, Problem> {
    if let Actor::User { .. } = caller.actor {
        return Err(Error::ServicesOnly.into());
    }
    let mut tx = app.db.begin(caller.tenant).await?;
    let found = store::credential::find(&mut tx, id).await?.ok_or(Error::NotFound(id))?;
    Ok(Json(Standing { credential_id: id, health: found.health }))
}
