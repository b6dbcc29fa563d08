//! When a timer fires next.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use servicekit::{Caller, FieldError, Params, Path, Problem, scope};
use shared_models::{ProblemBody, TriggerId, wire_time};
use utoipa::ToSchema;

use crate::{
    app::App,
    error::{Error, NOT_A_TIMER},
    store,
    timer::{self, TimerOptions, schedule::Schedule},
    trigger,
    viewer::Viewer,
};

const MOST: u32 = 100;

/// How many.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HowMany {
    /// How many at most: 1 to 100, 10 unless said.
    limit: Option<u32>,
    /// List the slots after this moment instead, also those that have passed, and whether each fired: what would have fired
    /// while nothing could.
    since: Option<DateTime<Utc>>,
}

/// A time to fire.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Fire {
    /// The time the schedule names.
    #[serde(serialize_with = "wire_time::time")]
    pub slot_at: DateTime<Utc>,
    /// The same as people in the timer's zone tell it.
    #[schema(example = "2026-06-01T09:00:00+02:00")]
    pub local_time: String,
    /// When it fires: the slot with its jitter. Which jitter that is depends on the trigger's id, so the preview of a
    /// schedule with jitter has none.
    #[serde(serialize_with = "wire_time::maybe")]
    pub due_at: Option<DateTime<Utc>>,
    /// With `since`: whether a delivery of this slot is in the ledger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fired: Option<bool>,
}

/// The next times to fire.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Fires {
    /// The time zone of local times.
    #[schema(example = "Europe/Berlin")]
    pub timezone: &'static str,
    /// The trigger's state; only `scheduled` and `paused` ones have times, and a paused one holds them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
    /// The times, in order.
    pub items: Vec<Fire>,
}

/// List the next times a timer fires.
///
/// In order, beginning with the slot that comes next; its time may have passed while the trigger is paused.
#[utoipa::path(get, path = "/v1/triggers/{trigger_id}/fires", tag = "triggers",
    security(("token" = ["triggers:read"])), params(("trigger_id" = TriggerId, Path), HowMany),
    responses((status = 200, body = Fires), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_fires(
    State(app): State<App>,
    caller: Caller<scope::TriggersRead>,
    Path(id): Path<TriggerId>,
    Params(many): Params<HowMany>,
) -> Result<Json<Fires>, Problem> {
    let limit = limit(many.limit, "limit")?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let row = store::trigger::find(&mut tx, &Viewer::of(&caller), id).await?;
    let row = row.ok_or_else(|| Error::NotFound(format!("trigger {id}")))?;
    let no_timer = || Problem::new(&NOT_A_TIMER, format!("the trigger {id} is no timer"));
    let anchor = row.anchor_at.ok_or_else(no_timer)?;
    let options = TimerOptions::parse(&row.options).map_err(Error::Invalid)?;
    let schedule = options.schedule(anchor).map_err(|error| Error::Invalid(vec![error]))?;
    if let Some(since) = many.since {
        let slots: Vec<_> = schedule.slots(id, since).take(limit).collect();
        let keys: Vec<String> = slots.iter().map(|slot| timer::slot_key(slot.at)).collect();
        let fired = store::delivery::known_keys(&mut tx, row.source_id, &keys).await?;
        let items = slots.iter().zip(&keys).map(|(slot, key)| Fire {
            fired: Some(fired.contains(key)),
            ..fire(&schedule, slot.at, Some(slot.due))
        });
        let (items, state) = (items.collect(), Some(trigger::state(&row).0));
        return Ok(Json(Fires { timezone: schedule.zone.name(), state, items }));
    }
    let first = row.next_slot_at.map(|at| schedule.slot(id, at));
    let slots =
        first.into_iter().chain(first.into_iter().flat_map(|first| schedule.slots(id, first.at)));
    let items = slots.take(limit).map(|slot| fire(&schedule, slot.at, Some(slot.due)));
    let items = items.collect();
    let state = Some(trigger::state(&row).0);
    Ok(Json(Fires { timezone: schedule.zone.name(), state, items }))
}

pub(super) fn fire(schedule: &Schedule, at: DateTime<Utc>, due_at: Option<DateTime<Utc>>) -> Fire {
    Fire { slot_at: at, local_time: schedule.local(at), due_at, fired: None }
}

pub(super) fn limit(said: Option<u32>, pointer: &str) -> Result<usize, Problem> {
    let limit = said.unwrap_or(10);
    if !(1..=MOST).contains(&limit) {
        let error = FieldError::new(format!("/{pointer}"), "must be between 1 and 100");
        return Err(Problem::validation(vec![error]));
    }
    Ok(limit as usize)
}
