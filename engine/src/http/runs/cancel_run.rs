use axum::{Json, extract::State, http::StatusCode};
use servicekit::{Caller, Path, Problem, scope::RunsWrite};
use shared_models::{ProblemBody, RunId, RunStatus};

use super::visible;
use crate::app::App;
use crate::error::Error;
use crate::http::run_view::RunView;
use crate::store::signal::{self, Signal};
use crate::store::{queue, run};

/// Stop a run. Calls under way are given up; an unsafe one that may have happened stays visible as in doubt.
#[utoipa::path(post, path = "/v1/runs/{run_id}/cancel", tag = "runs", security(("token" = ["runs:write"])),
    params(("run_id" = RunId, Path)),
    responses((status = 202, body = RunView, description = "The run will be stopped within a second."),
        (status = "default", body = ProblemBody)))]
pub(crate) async fn cancel_run(
    State(app): State<App>,
    caller: Caller<RunsWrite>,
    Path(run_id): Path<RunId>,
) -> Result<(StatusCode, Json<RunView>), Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let row = visible(&mut tx, &caller, run_id).await?;
    if run::hold(&mut tx, run_id).await?.is_none_or(RunStatus::terminal) {
        return Err(Error::RunEnded.into());
    }
    let reason = "cancelled by a person".to_owned();
    signal::insert(&mut tx, run_id, &Signal::Cancel { by: caller.user(), reason }).await?;
    queue::rouse(&mut tx, run_id).await?;
    tx.commit().await?;
    app.bell.ring_for(run_id).await;
    Ok((StatusCode::ACCEPTED, Json(RunView::new(row, caller.payloads))))
}
