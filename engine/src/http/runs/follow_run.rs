use std::time::Duration;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse as _, Response,
        sse::{KeepAlive, Sse},
    },
};
use servicekit::{Caller, Path, Problem, scope::RunsRead};
use shared_models::{ProblemBody, RunId};

use super::{visible, watch::Watch};
use crate::app::App;
use crate::error::Error;
use crate::store::journal;

/// Follow a run: its records from the beginning, or from after `Last-Event-ID`, and then live until its end.
///
/// Each record is an event with its sequence as `id` and its kind as `event`. Between them `delta` events without an id
/// carry the model's words as they come, at an offset in a block; the record that follows replaces them. A comment is
/// sent every 15 seconds. The record `finished` closes the stream; reconnecting after it answers 204.
#[utoipa::path(get, path = "/v1/runs/{run_id}/events", tag = "runs", security(("token" = ["runs:read"])),
    params(("run_id" = RunId, Path),
        ("Last-Event-ID" = Option<i64>, Header, description = "The last record you have.")),
    responses((status = 200, content_type = "text/event-stream", body = crate::live::RunEvent),
        (status = 204, description = "The run has ended and you have everything."),
        (status = "default", body = ProblemBody)))]
pub(crate) async fn follow_run(
    State(app): State<App>,
    caller: Caller<RunsRead>,
    Path(run_id): Path<RunId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let last = last_event_id(&headers);
    let mut tx = app.db.begin(caller.tenant).await?;
    let row = visible(&mut tx, &caller, run_id).await?;
    if row.content_pruned_at.is_some() {
        return Err(Error::RunPruned(run_id).into());
    }
    let newest = journal::last_seq(&mut tx, run_id).await?;
    if row.status().terminal() && last >= newest {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    drop(tx);
    // What has not happened yet cannot be the last thing seen.
    let last = if last > newest { 0 } else { last };
    let watch = Watch::begin(app, &caller, row, last).await.map_err(Problem::internal)?;
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
    Ok(Sse::new(watch.into_stream()).keep_alive(keep_alive).into_response())
}

/// Anything that is not a sequence of ours means from the beginning.
fn last_event_id(headers: &HeaderMap) -> i64 {
    let text = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0).max(0)
}
