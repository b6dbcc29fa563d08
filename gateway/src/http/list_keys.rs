//! `GET /internal/jwks`

use axum::{Json, extract::State};
use serde::Serialize;
use servicekit::{Problem, PublicKey};
use shared_models::ProblemBody;

use crate::{App, store};

/// The public keys of all services, each with its owner (`svc`).
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct KeySet {
    #[schema(value_type = Vec<Object>)]
    keys: Vec<PublicKey>,
}

/// The key set by which services verify tokens.
#[utoipa::path(get, path = "/internal/jwks", tag = "internal", security(()),
    responses((status = 200, body = KeySet), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_keys(State(app): State<App>) -> Result<Json<KeySet>, Problem> {
    let mut tx = app.db.system("the services' public keys").await?;
    let keys = store::signing_key::list_honoured(&mut tx).await?;
    tx.commit().await?;
    Ok(Json(KeySet { keys }))
}
