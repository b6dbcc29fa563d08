//! `GET /internal/runs/{run_id}`

use axum::{Json, extract::State};
use serde::Serialize;
use servicekit::{Caller, Path, scope::AgentsLookup};
use shared_models::{ProblemBody, RunId};

use crate::{app::App, error::Error, http::run_view::RunView, store};

/// A run with what it said, for the service whose event started it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct LookedUpRun(RunView);

/// What has become of a run.
#[utoipa::path(get, path = "/internal/runs/{run_id}", tag = "internal",
    params(("run_id" = RunId, Path)),
    security(("token" = ["agents:lookup"])),
    responses((status = 200, body = LookedUpRun), (status = "default", body = ProblemBody)))]
pub(crate) async fn lookup_run(
    State(app): State<App>,
    caller: Caller<AgentsLookup>,
    Path(run_id): Path<RunId>,
) -> Result<Json<LookedUpRun>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let row = store::run::find(&mut tx, run_id).await?.ok_or(Error::RunNotFound(run_id))?;
    Ok(Json(LookedUpRun(RunView::new(row, true))))
}
