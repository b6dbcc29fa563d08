//! One delivery, with its timeline and, for those who may see it, its content.

use axum::{Json, extract::State};
use servicekit::{Caller, Path, Problem, scope};
use shared_models::{DeliveryId, ProblemBody};

use crate::{
    app::App,
    delivery::{Delivery, DeliveryDetail, timeline},
    error::Error,
    payload, store,
    viewer::Viewer,
};

/// Get a delivery.
#[utoipa::path(get, path = "/v1/deliveries/{delivery_id}", tag = "deliveries",
    security(("token" = ["triggers:read"])), params(("delivery_id" = DeliveryId, Path)),
    responses((status = 200, body = DeliveryDetail), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_delivery(
    State(app): State<App>,
    caller: Caller<scope::TriggersRead>,
    Path(id): Path<DeliveryId>,
) -> Result<Json<DeliveryDetail>, Problem> {
    let viewer = Viewer::of(&caller);
    let mut tx = app.db.begin(caller.tenant).await?;
    // What is heard of the run between two statements would show in one of them and not in the other.
    store::delivery::as_of_now(&mut tx).await?;
    let row = store::delivery::find(&mut tx, &viewer, id).await?;
    let row = row.ok_or_else(|| Error::NotFound(format!("delivery {id}")))?;
    let firings = store::firing::of_deliveries(&mut tx, &viewer, &[id]).await?;
    let steps = store::step::list(&mut tx, id).await?;
    let content = if caller.payloads { store::delivery::content(&mut tx, id).await? } else { None };
    let delivery = Delivery::of(row, &firings);
    let steps =
        steps.into_iter().filter(|step| firings.iter().any(|own| own.event_id == step.event_id));
    let timeline = timeline(&delivery, steps.collect());
    let (payload, headers) = match content {
        Some(content) => {
            let payload = payload::parse(content.content_type.as_deref(), &content.body).ok();
            (payload, Some(content.headers))
        }
        None => (None, None),
    };
    Ok(Json(DeliveryDetail { delivery, timeline, redacted: !caller.payloads, payload, headers }))
}
