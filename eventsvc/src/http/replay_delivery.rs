//! Firing a stored delivery once more.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use dbutil::TenantTx;
use serde::{Deserialize, Serialize};
use servicekit::{Caller, Once, Params, Path, Problem, scope};
use shared_models::{DeliveryId, EventId, ProblemBody, TriggerId};
use utoipa::ToSchema;

use crate::{
    app::App,
    error::Error,
    refire::{self, Again},
    store::{self, firing::Refire},
    viewer::Viewer,
};

/// For whom.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Only {
    /// Only this one of the triggers that the delivery came for.
    trigger_id: Option<TriggerId>,
}

/// What is asked for: the same words with the same key are the same request.
#[derive(Debug, Serialize)]
struct Asked {
    delivery_id: DeliveryId,
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger_id: Option<TriggerId>,
}

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
/// event keeps its id and gets the next attempt, and each attempt makes a run of its own. With `trigger_id` only that trigger
/// fires; one for which the delivery did not come is refused.
#[utoipa::path(post, path = "/v1/deliveries/{delivery_id}/replay", tag = "deliveries",
    security(("token" = ["triggers:write"])), params(("delivery_id" = DeliveryId, Path), Only),
    responses((status = 202, body = Replayed), (status = "default", body = ProblemBody)))]
pub(crate) async fn replay_delivery(
    State(app): State<App>,
    caller: Caller<scope::TriggersWrite>,
    mut once: Once,
    Path(id): Path<DeliveryId>,
    Params(Only { trigger_id }): Params<Only>,
) -> Result<Response, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let asked = Asked { delivery_id: id, trigger_id };
    if let Some(stored) = once.begin(&mut tx, &caller, &asked).await? {
        return Ok(stored);
    }
    let firings = wanted(&mut tx, &Viewer::of(&caller), &asked).await?;
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

/// Locks what is to be fired; there is something.
async fn wanted(
    tx: &mut TenantTx,
    viewer: &Viewer,
    &Asked { delivery_id, trigger_id }: &Asked,
) -> Result<Vec<Refire>, Error> {
    let firings = store::firing::lock_of_delivery(tx, viewer, delivery_id).await?;
    if firings.is_empty() {
        return Err(Error::NotFound(format!("delivery {delivery_id}")));
    }
    let Some(trigger) = trigger_id else { return Ok(firings) };
    let of_it: Vec<Refire> =
        firings.into_iter().filter(|firing| firing.trigger_id == trigger).collect();
    if !of_it.is_empty() {
        return Ok(of_it);
    }
    match store::trigger::find(tx, viewer, trigger).await? {
        Some(_) => Err(Error::NotReplayable(format!("{delivery_id} did not come for {trigger}"))),
        None => Err(Error::NotFound(format!("trigger {trigger}"))),
    }
}
