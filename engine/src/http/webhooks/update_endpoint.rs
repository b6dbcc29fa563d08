//! `PATCH /v1/webhook-endpoints/{endpoint_id}`

use axum::extract::State;
use serde_json::Value;
use servicekit::{Body, Caller, IfMatch, Path, Tagged, merge_patch, scope::SettingsWrite};
use shared_models::{ProblemBody, WebhookEndpointId};

use super::fields::{Endpoint, EndpointFields};
use crate::app::App;
use crate::error::Error;
use crate::store::{webhook_delivery, webhook_endpoint};

/// Change an endpoint, or disable or enable it.
///
/// A JSON Merge Patch (RFC 7396). What a disabled endpoint has not been told yet is skipped, and so is what happens while it
/// is disabled; both can be sent after all (`…/resend`).
#[utoipa::path(patch, path = "/v1/webhook-endpoints/{endpoint_id}", tag = "webhooks",
    params(("endpoint_id" = WebhookEndpointId, Path), ("If-Match" = Option<String>, Header)),
    request_body(content = Object, content_type = "application/merge-patch+json", example = json!({ "enabled": true })),
    security(("token" = ["settings:write"])),
    responses((status = 200, body = Endpoint), (status = "default", body = ProblemBody)))]
pub(crate) async fn update_webhook_endpoint(
    State(app): State<App>,
    caller: Caller<SettingsWrite>,
    Path(endpoint_id): Path<WebhookEndpointId>,
    if_match: IfMatch,
    Body(patch): Body<Value>,
) -> Result<Tagged<Endpoint>, Error> {
    caller.require_admin()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let row = webhook_endpoint::find_for_update(&mut tx, endpoint_id).await?;
    if_match.check(row.version)?;
    let before = EndpointFields::of(&row);
    let fields: EndpointFields = merge_patch(&before, &patch)?;
    if fields == before {
        return Ok(Tagged(row.version, row.into()));
    }
    fields.check(&app)?;
    let row = webhook_endpoint::update(&mut tx, endpoint_id, fields.stored()).await?;
    if let Some(reason) = &row.disabled_reason {
        webhook_delivery::skip(&mut tx, endpoint_id, reason).await?;
    }
    tx.commit().await?;
    Ok(Tagged(row.version, row.into()))
}
