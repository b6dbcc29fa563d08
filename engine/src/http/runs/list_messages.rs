use axum::{Json, extract::State};
use serde::Serialize;
use serde_json::Value;
use servicekit::{Caller, Path, Problem, scope::RunsRead};
use shared_models::{ProblemBody, RunId};
use utoipa::ToSchema;

use super::visible;
use crate::app::App;
use crate::live::redacted;
use crate::transcript;

/// What was said in a run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MessageList {
    /// In order; each has a `role`. Content is left out when the caller may not see it.
    items: Vec<Value>,
}

/// List what was said in a run so far: input, replies, and the answers of the turns that are complete.
#[utoipa::path(get, path = "/v1/runs/{run_id}/messages", tag = "runs", security(("token" = ["runs:read"])),
    params(("run_id" = RunId, Path)),
    responses((status = 200, body = MessageList), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_messages(
    State(app): State<App>,
    caller: Caller<RunsRead>,
    Path(run_id): Path<RunId>,
) -> Result<Json<MessageList>, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let row = visible(&mut tx, &caller, run_id).await?;
    let (_, told) = transcript::read(&mut tx, run_id, row.root_run_id).await?;
    let messages = told.state.messages.iter().map(serde_json::to_value);
    let messages = messages.collect::<Result<Vec<_>, _>>().map_err(Problem::internal)?;
    let shown = |message: Value| if caller.payloads { message } else { redacted(&message) };
    Ok(Json(MessageList { items: messages.into_iter().map(shown).collect() }))
}
