//! Firing many stored deliveries once more, after showing what that would do.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use dbutil::PageQuery;
use serde::{Deserialize, Serialize};
use servicekit::{Body, Caller, FieldError, Problem, codes, scope};
use shared_models::{DeliveryId, EventId, ProblemBody, RunId, TriggerId};
use utoipa::ToSchema;

use crate::{
    app::App,
    error::Error,
    intake::{ReasonClass, Status},
    refire::{self, Again},
    store::{self, delivery::Narrow},
    viewer::Viewer,
};

/// The most deliveries of one request.
const MOST: u32 = 100;
/// Deliveries that a tenant may replay in a minute.
const PER_MINUTE: u32 = 600;

/// Which deliveries, and whether it is meant.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replay {
    /// Only what came for this trigger.
    #[serde(default)]
    trigger_id: Option<TriggerId>,
    /// Only that of which this came. What else a delivery fired is not fired again. Without a status or a reason it is what
    /// `failed` before it had a run: a run that failed may have done things that another would do once more.
    #[serde(default)]
    status: Option<Status>,
    /// Only what did not fire, or whose run failed, for this reason.
    #[serde(default)]
    reason: Option<ReasonClass>,
    /// Only those that came at or after this moment.
    #[serde(default)]
    since: Option<DateTime<Utc>>,
    /// Only those that came before this moment.
    #[serde(default)]
    until: Option<DateTime<Utc>>,
    /// How many deliveries at most: 1 to 100, 100 unless said. Of more the latest.
    #[serde(default)]
    limit: Option<u32>,
    /// Whether it only shows what would fire, which it does unless `false` is said.
    #[serde(default = "yes")]
    dry_run: bool,
}

const fn yes() -> bool {
    true
}

/// What was fired again, or would be.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ReplayedMany {
    /// Whether nothing was done.
    dry_run: bool,
    /// Deliveries that were looked at.
    deliveries: usize,
    /// What fires, each with its next attempt.
    events: Vec<Fired>,
    /// What cannot, and why.
    refused: Vec<Refused>,
}

/// An event that fires again.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Fired {
    delivery_id: DeliveryId,
    trigger_id: TriggerId,
    event_id: EventId,
    attempt: i32,
    /// The run of the attempt before, if it had one: what it did is done once more.
    run_id: Option<RunId>,
    /// How that run is doing.
    run_status: Option<String>,
}

/// A firing that cannot.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Refused {
    delivery_id: DeliveryId,
    trigger_id: TriggerId,
    why: String,
}

/// Replay deliveries.
///
/// A dry run unless `dry_run` is `false`. Each event keeps its id and gets the next attempt. A tenant replays at most 600
/// deliveries a minute.
#[utoipa::path(post, path = "/v1/deliveries/replay", tag = "deliveries", security(("token" = ["triggers:write"])),
    request_body = Replay,
    responses((status = 200, body = ReplayedMany, description = "A dry run"), (status = 202, body = ReplayedMany),
        (status = "default", body = ProblemBody)))]
pub(crate) async fn replay_deliveries(
    State(app): State<App>,
    caller: Caller<scope::TriggersWrite>,
    Body(replay): Body<Replay>,
) -> Result<Response, Problem> {
    let limit = replay.limit.unwrap_or(MOST);
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::validation(vec![FieldError::new(
            "/limit",
            "must be between 1 and 100",
        )]));
    }
    let narrow = Narrow {
        trigger: replay.trigger_id,
        status: Some(replay.status.unwrap_or(Status::Failed).into()),
        reason: replay.reason.map(Into::into),
        since: replay.since,
        until: replay.until,
        without_run: replay.status.is_none() && replay.reason.is_none(),
    };
    let viewer = Viewer::of(&caller);
    let page = PageQuery { limit: Some(limit), cursor: None };
    let mut tx = app.db.begin(caller.tenant).await?;
    let rows = store::delivery::list_page(&mut tx, &viewer, &narrow, page.after()?, page.limit());
    let ids: Vec<DeliveryId> =
        rows.await?.into_iter().take(limit as usize).map(|row| row.delivery_id).collect();
    tx.commit().await?;
    if !replay.dry_run {
        pace(&app, &caller, ids.len())?;
    }
    let mut answer = ReplayedMany {
        dry_run: replay.dry_run,
        deliveries: ids.len(),
        events: Vec::new(),
        refused: Vec::new(),
    };
    // Oldest first, as they came.
    for id in ids.into_iter().rev() {
        one(&app, &caller, (&viewer, &narrow), id, &mut answer).await?;
    }
    if answer.dry_run {
        return Ok(Json(answer).into_response());
    }
    app.relay.ring();
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

fn pace(app: &App, caller: &Caller<scope::TriggersWrite>, count: usize) -> Result<(), Problem> {
    app.guard.replay(caller.tenant, count, PER_MINUTE).map_err(|wait| {
        let detail = format!("more than {PER_MINUTE} deliveries replayed in a minute");
        Problem::new(&codes::RATE_LIMITED, detail).retry_after(wait.as_secs() + 1)
    })
}

async fn one(
    app: &App,
    caller: &Caller<scope::TriggersWrite>,
    (viewer, narrow): (&Viewer, &Narrow),
    delivery_id: DeliveryId,
    answer: &mut ReplayedMany,
) -> Result<(), Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let firings = store::firing::lock_of_delivery(&mut tx, viewer, delivery_id).await?;
    // Looked at under the lock: what somebody else has fired again meanwhile is no longer what was asked for.
    for firing in firings.into_iter().filter(|firing| firing.fits(narrow)) {
        let trigger_id = firing.trigger_id;
        let together = refire::batch(&mut tx, &firing).await?;
        let ready = if let Some(why) = refire::obstacle(&firing) {
            Err(why)
        } else {
            let again = Again { firing: &firing, together: &together };
            refire::given(caller.tenant, &again).await
        };
        match ready {
            Ok(given) => {
                let (event_id, attempt) = if answer.dry_run {
                    (firing.event_id, firing.attempt + 1)
                } else {
                    let by = caller.principal();
                    refire::fire(&mut tx, &firing, &given, "replayed", Some(&by)).await?
                };
                let (run_id, run_status) = (firing.run_id, firing.run_status);
                let fired =
                    Fired { delivery_id, trigger_id, event_id, attempt, run_id, run_status };
                answer.events.push(fired);
            }
            Err(why) => answer.refused.push(Refused { delivery_id, trigger_id, why }),
        }
    }
    tx.commit().await?;
    Ok(())
}
