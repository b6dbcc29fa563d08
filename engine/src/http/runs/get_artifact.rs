use axum::extract::State;
use servicekit::{Caller, Path, Problem, scope::RunsRead};
use shared_models::{ProblemBody, RunId};

use super::visible;
use crate::app::App;
use crate::drive::artifacts;
use crate::error::Error;

/// Read a tool's result that was too long for the model, as far as it was kept. The model was shown its beginning and this
/// id. For those who may see content.
#[utoipa::path(get, path = "/v1/runs/{run_id}/artifacts/{artifact_id}", tag = "runs", security(("token" = ["runs:read"])),
    params(("run_id" = RunId, Path), ("artifact_id" = String, Path)),
    responses((status = 200, body = String, content_type = "text/plain"), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_artifact(
    State(app): State<App>,
    caller: Caller<RunsRead>,
    Path((run_id, artifact_id)): Path<(RunId, String)>,
) -> Result<String, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let row = visible(&mut tx, &caller, run_id).await?;
    if row.content_pruned_at.is_some() {
        return Err(Error::RunPruned(run_id).into());
    }
    let found = if caller.payloads {
        artifacts::find(&mut tx, row.root_run_id, &artifact_id).await?
    } else {
        None
    };
    Ok(found.ok_or(Error::ArtifactNotFound(artifact_id))?)
}
