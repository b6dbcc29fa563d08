use axum::{Json, extract::State};
use servicekit::{Caller, Path, Problem, scope::RunsRead};
use shared_models::{ProblemBody, RunId};

use super::visible;
use crate::app::App;
use crate::http::run_view::RunView;

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
    Ok(Json(RunView::new(row, caller.payloads)))
}
