//! `DELETE /v1/webhook-endpoints/{endpoint_id}`

use axum::{extract::State, http::StatusCode};
use servicekit::{Caller, IfMatch, Path, scope::SettingsWrite};
use shared_models::{ProblemBody, WebhookEndpointId};

use crate::app::App;
use crate::error::Error;
use crate::store::webhook_endpoint;

/// Remove an endpoint, its secret, and the log of what it was told.
#[utoipa::path(delete, path = "/v1/webhook-endpoints/{endpoint_id}", tag = "webhooks",
    params(("endpoint_id" = WebhookEndpointId, Path), ("If-Match" = Option<String>, Header)),
    security(("token" = ["settings:write"])),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub(crate) async fn delete_webhook_endpoint(
    State(app): State<App>,
    caller: Caller<SettingsWrite>,
    Path(endpoint_id): Path<WebhookEndpointId>,
    if_match: IfMatch,
) -> Result<StatusCode, Error> {
    caller.person()?;
    caller.require_admin()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let row = webhook_endpoint::find_for_update(&mut tx, endpoint_id).await?;
    if_match.check(row.version)?;
    webhook_endpoint::delete(&mut tx, endpoint_id).await?;
    tx.commit().await?;
    super::rotate_secret::let_go(&app, &caller, row.credential_id).await;
    Ok(StatusCode::NO_CONTENT)
}
