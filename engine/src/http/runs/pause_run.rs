//! Stopping a run for a while, and letting it go on.

use axum::{Json, extract::State, http::StatusCode};
use dbutil::TenantTx;
use servicekit::{Caller, Path, Problem, scope::RunsWrite};
use shared_models::{ProblemBody, RunId};

use super::visible;
use crate::app::App;
use crate::error::Error;
use crate::http::run_view::RunView;
use crate::pauses;
use crate::store::run;

/// Pause a run. It stops at its next step: a model or tools that are being called answer first. The runs that work for it stop
/// too. While it is `paused` it holds nothing, answers and decisions are kept for it, and the clock of its deadline stands
/// still.
#[utoipa::path(post, path = "/v1/runs/{run_id}/pause", tag = "runs", security(("token" = ["runs:write"])),
    params(("run_id" = RunId, Path)),
    responses((status = 202, body = RunView, description = "The run will be paused, unless it ends with what it is doing."),
        (status = "default", body = ProblemBody)))]
pub(crate) async fn pause_run(
    State(app): State<App>,
    caller: Caller<RunsWrite>,
    Path(run_id): Path<RunId>,
) -> Result<(StatusCode, Json<RunView>), Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    visible(&mut tx, &caller, run_id).await?;
    pauses::pause(&mut tx, run_id, caller.user()).await?;
    signalled(&app, tx, &caller, run_id).await
}

/// Resume a run that is paused, or about to be, with the runs that work for it. It goes on from its last step.
#[utoipa::path(post, path = "/v1/runs/{run_id}/resume", tag = "runs", security(("token" = ["runs:write"])),
    params(("run_id" = RunId, Path)),
    responses((status = 202, body = RunView, description = "The run is queued."),
        (status = "default", body = ProblemBody)))]
pub(crate) async fn resume_run(
    State(app): State<App>,
    caller: Caller<RunsWrite>,
    Path(run_id): Path<RunId>,
) -> Result<(StatusCode, Json<RunView>), Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    visible(&mut tx, &caller, run_id).await?;
    pauses::resume(&mut tx, run_id, caller.user()).await?;
    signalled(&app, tx, &caller, run_id).await
}

/// Commits what the run was told, lets whoever owns it know, and shows the run.
async fn signalled(
    app: &App,
    mut tx: TenantTx,
    caller: &Caller<RunsWrite>,
    run_id: RunId,
) -> Result<(StatusCode, Json<RunView>), Problem> {
    let row = run::find(&mut tx, run_id).await?.ok_or(Error::RunNotFound(run_id))?;
    tx.commit().await?;
    app.bell.ring_for(run_id).await;
    Ok((StatusCode::ACCEPTED, Json(RunView::new(row, caller.payloads))))
}
