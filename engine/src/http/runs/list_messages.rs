use axum::{Json, extract::State};
use dbutil::{Cursor, Page, PageQuery};
use serde_json::Value;
use servicekit::{Caller, Params, Path, Problem, scope::RunsRead};
use shared_models::{ProblemBody, RunId};

use super::visible;
use crate::app::App;
use crate::live::redacted;
use crate::transcript;

/// List what was said in a run so far, in order: input, replies, and the answers of the turns that are complete. Each
/// message has a `role`; content is left out when you may not see it.
#[utoipa::path(get, path = "/v1/runs/{run_id}/messages", tag = "runs", security(("token" = ["runs:read"])),
    params(("run_id" = RunId, Path), PageQuery),
    responses((status = 200, body = Page<Value>,
            example = json!({ "items": [{ "role": "user", "content": "Hello" }], "next_cursor": null })),
        (status = "default", body = ProblemBody)))]
pub(crate) async fn list_messages(
    State(app): State<App>,
    caller: Caller<RunsRead>,
    Path(run_id): Path<RunId>,
    Params(page): Params<PageQuery>,
) -> Result<Json<Page<Value>>, Problem> {
    let (after, limit) = (page.after()?, page.limit());
    let mut tx = app.db.begin(caller.tenant).await?;
    let row = visible(&mut tx, &caller, run_id).await?;
    let (snapshot, told) = transcript::read(&mut tx, run_id, row.root_run_id).await?;
    drop(tx);
    // The number of the message takes the place of the id. What was said before the run is not of the run.
    let first = after.map_or(snapshot.history.len(), |cursor| cursor.id.as_u128() as usize);
    let messages = told.state.messages.iter().enumerate().skip(first).take(limit as usize + 1);
    let shown = |(place, message)| {
        let message = serde_json::to_value(message)?;
        let message = if caller.payloads { message } else { redacted(&message) };
        Ok((place, message))
    };
    let shown: Result<Vec<(usize, Value)>, serde_json::Error> = messages.map(shown).collect();
    let position = |(place, _): &(usize, Value)| Cursor {
        at: row.created_at,
        id: uuid::Uuid::from_u128(*place as u128 + 1),
    };
    let page = Page::new(shown.map_err(Problem::internal)?, limit, position);
    Ok(Json(page.map(|(_, message)| message)))
}
