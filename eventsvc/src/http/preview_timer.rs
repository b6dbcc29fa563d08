//! When a timer would fire that is not saved yet.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use servicekit::{Body, Caller, Problem, scope};
use shared_models::ProblemBody;
use utoipa::ToSchema;

use super::list_fires::{Fires, fire, limit};
use crate::{app::App, error::Error, timer::TimerOptions};

/// A schedule to try.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "options": { "cron": "30 2 * * *", "timezone": "Europe/Berlin" }, "limit": 3 }))]
pub(crate) struct Preview {
    /// The options a `timer` trigger would have.
    #[schema(value_type = TimerOptions)]
    options: Value,
    /// How many at most: 1 to 100, 10 unless said.
    #[serde(default)]
    limit: Option<u32>,
}

/// Preview a timer.
///
/// The next times it would fire if it were saved now, and what is wrong with it if it could not be.
#[utoipa::path(post, path = "/v1/triggers/preview", tag = "triggers", security(("token" = ["triggers:read"])),
    request_body = Preview,
    responses((status = 200, body = Fires), (status = "default", body = ProblemBody)))]
pub(crate) async fn preview_timer(
    State(app): State<App>,
    _caller: Caller<scope::TriggersRead>,
    Body(preview): Body<Preview>,
) -> Result<Json<Fires>, Problem> {
    let limit = limit(preview.limit, "limit")?;
    let options = TimerOptions::parse(&preview.options).map_err(Error::Invalid)?;
    let now = app.clock.now();
    let refused = |error| Error::Invalid(vec![error]);
    options.check_future(now).map_err(refused)?;
    let schedule = options.schedule(now).map_err(refused)?;
    let times = std::iter::successors(schedule.next(now), |at| schedule.next(*at));
    let certain = schedule.jitter.is_zero();
    let items = times.take(limit).map(|at| fire(&schedule, at, certain.then_some(at))).collect();
    Ok(Json(Fires { timezone: schedule.zone.name(), state: None, items }))
}
