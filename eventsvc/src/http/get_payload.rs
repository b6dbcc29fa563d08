//! A payload too large to travel on the bus, for the engine.

use axum::{Json, extract::State};
use serde_json::Value;
use servicekit::{Caller, Path, Problem, scope};
use shared_models::{DeliveryId, ProblemBody};

use crate::{app::App, error::Error, payload, store};

/// Get a delivery's payload, as agents see it.
#[utoipa::path(get, path = "/internal/deliveries/{delivery_id}/payload", tag = "internal",
    security(("token" = ["payloads:read"])), params(("delivery_id" = DeliveryId, Path)),
    responses((status = 200, body = Object), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_payload(
    State(app): State<App>,
    caller: Caller<scope::PayloadsRead>,
    Path(id): Path<DeliveryId>,
) -> Result<Json<Value>, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let content = store::delivery::content(&mut tx, id).await?;
    let content = content.ok_or_else(|| Error::NotFound(format!("delivery {id}")))?;
    payload::parse(content.content_type.as_deref(), &content.body).map(Json)
}
