//! Firing a stored delivery once more.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;
use servicekit::{Caller, Once, Path, Problem, scope};
use shared_models::{DeliveryId, EventId, ProblemBody};
use utoipa::ToSchema;

use crate::{
    app::App,
    error::Error,
    refire::{self, Again},
    store,
    viewer::Viewer,
};

/// What was fired again.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Replayed {
    /// The delivery.
    delivery_id: DeliveryId,
    /// Its events, each with its new attempt.
    events: Vec<ReplayedEvent>,
}

/// One event fired again.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ReplayedEvent {
    /// The same event.
    event_id: EventId,
    /// The next attempt.
    attempt: i32,
}

/// Replay a delivery.
///
/// Fires every active trigger it came for once more, also one whose filter said no or which was not active then. Each
/// event keeps its id and gets the next attempt, and each attempt makes a run of its own.
#[utoipa::path(post, path = "/v1/deliveries/{delivery_id}/replay", tag = "deliveries",
    security(("token" = ["triggers:write"])), params(("delivery_id" = DeliveryId, Path)),
    responses((status = 202, body = Replayed), (status = "default", body = ProblemBody)))]
pub(crate) async fn replay_delivery(
    State(app): State<App>,
    caller: Caller<scope::TriggersWrite>,
    mut once: Once,
    Path(id): Path<DeliveryId>,
) -> Result<Response, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(stored) = once.begin(&mut tx, &caller, &json!({ "delivery_id": id })).await? {
        return Ok(stored);
    }
    let firings = store::firing::lock_of_delivery(&mut tx, &Viewer::of(&caller), id).await?;
    if firings.is_empty() {
        return Err(Error::NotFound(format!("delivery {id}")).into());
    }
    let mut events = Vec::new();
    let mut obstacles = Vec::new();
    for firing in &firings {
        if let Some(obstacle) = refire::obstacle(firing) {
            obstacles.push(obstacle);
            continue;
        }
        let together = refire::batch(&mut tx, firing).await?;
        match refire::given(caller.tenant, &Again { firing, together: &together }).await {
            Ok(given) => {
                let by = caller.principal();
                let fired = refire::fire(&mut tx, firing, &given, "replayed", Some(&by)).await?;
                events.push(ReplayedEvent { event_id: fired.0, attempt: fired.1 });
            }
            Err(why) => obstacles.push(why),
        }
    }
    if events.is_empty() {
        return Err(Error::NotReplayable(obstacles.join("; ")).into());
    }
    let answer = Replayed { delivery_id: id, events };
    once.remember(&mut tx, StatusCode::ACCEPTED, &answer).await?;
    tx.commit().await?;
    app.relay.ring();
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}
