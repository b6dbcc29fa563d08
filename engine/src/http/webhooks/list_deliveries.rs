//! `GET /v1/webhook-endpoints/{endpoint_id}/deliveries` and one of them

use axum::{Json, extract::State};
use dbutil::{Page, PageQuery};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use servicekit::{Caller, Params, Path, scope::AuditRead};
use shared_models::{MessageId, ProblemBody, RunId, WebhookEndpointId};
use utoipa::ToSchema;

use crate::app::App;
use crate::error::Error;
use crate::store::webhook_endpoint;
use crate::store::webhook_log::{self, AttemptView, Delivery, Filter};

#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DeliveryStatus {
    Pending,
    Delivered,
    Failed,
    Skipped,
}

impl DeliveryStatus {
    fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// What to narrow the list to.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListDeliveries {
    #[param(inline)]
    status: Option<DeliveryStatus>,
    event_type: Option<String>,
    run_id: Option<RunId>,
    /// How many at most: 1 to 100, 50 unless said.
    limit: Option<u32>,
    /// Where the last page ended (`next_cursor`).
    cursor: Option<String>,
}

/// What an endpoint was told or is to be told, newest first.
#[utoipa::path(get, path = "/v1/webhook-endpoints/{endpoint_id}/deliveries", tag = "webhooks",
    params(("endpoint_id" = WebhookEndpointId, Path), ListDeliveries), security(("token" = ["audit:read"])),
    responses((status = 200, body = Page<Delivery>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_webhook_deliveries(
    State(app): State<App>,
    caller: Caller<AuditRead>,
    Path(endpoint_id): Path<WebhookEndpointId>,
    Params(query): Params<ListDeliveries>,
) -> Result<Json<Page<Delivery>>, Error> {
    let page = PageQuery { limit: query.limit, cursor: query.cursor };
    let status = query.status.map(DeliveryStatus::as_str);
    let event_type = query.event_type.as_deref().filter(|kind| !kind.contains('\0'));
    let filter = Filter { status, event_type, run: query.run_id };
    let mut tx = app.db.begin(caller.tenant).await?;
    webhook_endpoint::find(&mut tx, endpoint_id).await?;
    Ok(Json(webhook_log::list_page(&mut tx, endpoint_id, &filter, &page).await?))
}

/// A delivery with everything about it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FullDelivery {
    #[serde(flatten)]
    delivery: Delivery,
    /// What is sent, as it is signed.
    #[schema(value_type = Object)]
    body: Box<RawValue>,
    /// The attempts, in order; at most 1,000.
    attempt_log: Vec<AttemptView>,
}

/// See what an endpoint was told of an event, with each attempt.
#[utoipa::path(get, path = "/v1/webhook-endpoints/{endpoint_id}/deliveries/{message_id}", tag = "webhooks",
    params(("endpoint_id" = WebhookEndpointId, Path), ("message_id" = MessageId, Path)),
    security(("token" = ["audit:read"])),
    responses((status = 200, body = FullDelivery), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_webhook_delivery(
    State(app): State<App>,
    caller: Caller<AuditRead>,
    Path((endpoint_id, message_id)): Path<(WebhookEndpointId, MessageId)>,
) -> Result<Json<FullDelivery>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let (delivery, body) = webhook_log::find(&mut tx, endpoint_id, message_id).await?;
    let attempt_log = webhook_log::attempts(&mut tx, endpoint_id, message_id).await?;
    let body = RawValue::from_string(body).map_err(anyhow::Error::from)?;
    Ok(Json(FullDelivery { delivery, body, attempt_log }))
}
