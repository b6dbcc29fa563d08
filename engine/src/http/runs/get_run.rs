use axum::{Json, extract::State};
use servicekit::{Caller, Path, Problem, scope::RunsRead};
use shared_models::{ProblemBody, RunId, WaitReason};

use super::visible;
use crate::app::App;
use crate::http::run_view::RunView;
use crate::store::{auth_wait, budget};

/// See a run: where it stands, what it said, what it used, and what it is in doubt about.
#[utoipa::path(get, path = "/v1/runs/{run_id}", tag = "runs", security(("token" = ["runs:read"])),
    params(("run_id" = RunId, Path)),
    responses((status = 200, body = RunView), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_run(
    State(app): State<App>,
    caller: Caller<RunsRead>,
    Path(run_id): Path<RunId>,
) -> Result<Json<RunView>, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let row = visible(&mut tx, &caller, run_id).await?;
    let mut view = RunView::new(row, caller.payloads);
    if view.may_wait_for_credentials() {
        view.waits_for = auth_wait::of_run(&mut tx, run_id).await?;
    }
    if view.wait_reason == Some(WaitReason::Budget) {
        let mut system = app.db.system("a run may wait for a budget of the platform").await?;
        view.short_of = budget::short_of(&mut system, caller.tenant, run_id).await?;
    }
    view.budget = budget::of_run(&mut tx, caller.tenant, run_id).await?.map(Into::into);
    Ok(Json(view))
}
