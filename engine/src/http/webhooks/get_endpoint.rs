//! `GET /v1/webhook-endpoints` and one of them

use axum::{Json, extract::State};
use dbutil::{Page, PageQuery};
use servicekit::{Caller, Params, Path, Tagged, scope::AuditRead};
use shared_models::{ProblemBody, WebhookEndpointId};

use super::fields::Endpoint;
use crate::app::App;
use crate::error::Error;
use crate::store::webhook_endpoint;

/// The tenant's endpoints, newest first.
#[utoipa::path(get, path = "/v1/webhook-endpoints", tag = "webhooks", params(PageQuery),
    security(("token" = ["audit:read"])),
    responses((status = 200, body = Page<Endpoint>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_webhook_endpoints(
    State(app): State<App>,
    caller: Caller<AuditRead>,
    Params(page): Params<PageQuery>,
) -> Result<Json<Page<Endpoint>>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    Ok(Json(webhook_endpoint::list_page(&mut tx, &page).await?.map(Endpoint::from)))
}

/// See an endpoint: whether it is enabled, and since when it fails. Its `ETag` is its version.
#[utoipa::path(get, path = "/v1/webhook-endpoints/{endpoint_id}", tag = "webhooks",
    params(("endpoint_id" = WebhookEndpointId, Path)), security(("token" = ["audit:read"])),
    responses((status = 200, body = Endpoint), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_webhook_endpoint(
    State(app): State<App>,
    caller: Caller<AuditRead>,
    Path(endpoint_id): Path<WebhookEndpointId>,
) -> Result<Tagged<Endpoint>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let row = webhook_endpoint::find(&mut tx, endpoint_id).await?;
    Ok(Tagged(row.version, row.into()))
}
