//! Sending again.

use axum::{Json, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use servicekit::{Body, Caller, Path, scope::SettingsWrite};
use shared_models::{MessageId, ProblemBody, WebhookEndpointId};
use utoipa::ToSchema;

use crate::app::App;
use crate::error::Error;
use crate::store::{webhook_endpoint, webhook_log};

/// Send an event again, whatever became of it: at once, and on the whole schedule if that fails. Its `webhook-id` stays.
#[utoipa::path(post, path = "/v1/webhook-endpoints/{endpoint_id}/deliveries/{message_id}/resend", tag = "webhooks",
    params(("endpoint_id" = WebhookEndpointId, Path), ("message_id" = MessageId, Path)),
    security(("token" = ["settings:write"])),
    responses((status = 202, description = "It is due."), (status = "default", body = ProblemBody)))]
pub(crate) async fn resend_webhook_delivery(
    State(app): State<App>,
    caller: Caller<SettingsWrite>,
    Path((endpoint_id, message_id)): Path<(WebhookEndpointId, MessageId)>,
) -> Result<StatusCode, Error> {
    caller.require_admin()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    if !webhook_endpoint::find_for_update(&mut tx, endpoint_id).await?.enabled {
        return Err(Error::WebhookDisabled);
    }
    webhook_log::resend(&mut tx, endpoint_id, message_id).await?;
    tx.commit().await?;
    app.webhooks.due.notify_one();
    Ok(StatusCode::ACCEPTED)
}

/// What to send again.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Since {
    /// What happened at this moment or later …
    since: DateTime<Utc>,
    /// … and before this one.
    #[serde(default)]
    until: Option<DateTime<Utc>>,
}

/// What is sent again.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Resent {
    /// How many events.
    resent: u64,
}

/// Send again what has not arrived: everything since a moment that has failed or was skipped while the endpoint was disabled.
#[utoipa::path(post, path = "/v1/webhook-endpoints/{endpoint_id}/resend", tag = "webhooks",
    params(("endpoint_id" = WebhookEndpointId, Path)), request_body = Since,
    security(("token" = ["settings:write"])),
    responses((status = 202, body = Resent), (status = "default", body = ProblemBody)))]
pub(crate) async fn resend_webhooks_since(
    State(app): State<App>,
    caller: Caller<SettingsWrite>,
    Path(endpoint_id): Path<WebhookEndpointId>,
    Body(asked): Body<Since>,
) -> Result<(StatusCode, Json<Resent>), Error> {
    caller.require_admin()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    if !webhook_endpoint::find_for_update(&mut tx, endpoint_id).await?.enabled {
        return Err(Error::WebhookDisabled);
    }
    let span = (asked.since, asked.until);
    let resent = webhook_log::resend_since(&mut tx, endpoint_id, span).await?;
    tx.commit().await?;
    app.webhooks.due.notify_one();
    Ok((StatusCode::ACCEPTED, Json(Resent { resent })))
}
