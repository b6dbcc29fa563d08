use agentcore::Message;
use axum::{Json, extract::State};
use dbutil::{Cursor, Page, PageQuery};
use serde::Deserialize;
use serde_json::Value;
use servicekit::{Caller, Params, Path, Problem, scope::RunsRead};
use shared_models::{ProblemBody, RunId};

use super::visible;
use crate::app::App;
use crate::error::Error;
use crate::live::redacted;
use crate::transcript::{self, Transcript};

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListMessages {
    /// In a run of a swarm: what was said to and by the member at this path, as in `lead/researcher`.
    path: Option<String>,
    /// How many at most: 1 to 100, 50 unless said.
    limit: Option<u32>,
    /// Where the last page ended (`next_cursor`).
    cursor: Option<String>,
}

/// List what was said in a run so far, in order: input, replies, and the answers of the turns that are complete. Each
/// message has a `role`; content is left out when you may not see it. Of a swarm it is what its members said to each
/// other, as one conversation; each has one of its own.
#[utoipa::path(get, path = "/v1/runs/{run_id}/messages", tag = "runs", security(("token" = ["runs:read"])),
    params(("run_id" = RunId, Path), ListMessages),
    responses((status = 200, body = Page<Value>,
            example = json!({ "items": [{ "role": "user", "content": "Hello" }], "next_cursor": null })),
        (status = "default", body = ProblemBody)))]
pub(crate) async fn list_messages(
    State(app): State<App>,
    caller: Caller<RunsRead>,
    Path(run_id): Path<RunId>,
    Params(query): Params<ListMessages>,
) -> Result<Json<Page<Value>>, Problem> {
    let page = PageQuery { limit: query.limit, cursor: query.cursor.clone() };
    let (after, limit) = (page.after()?, page.limit());
    let mut tx = app.db.begin(caller.tenant).await?;
    let row = visible(&mut tx, &caller, run_id).await?;
    let (snapshot, told) = transcript::read(&mut tx, run_id, row.root_run_id).await?;
    drop(tx);
    // The number of the message takes the place of the id. What was said before the run is not of the run.
    let said = match &query.path {
        None => told.messages(),
        Some(path) => said_by(&told, path).ok_or(Error::MemberNotFound(path.clone()))?,
    };
    let before = if query.path.is_none() { snapshot.history.len() } else { 0 };
    let first = after.map_or(before, |cursor| cursor.id.as_u128() as usize);
    let messages = said.iter().enumerate().skip(first).take(limit as usize + 1);
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

fn said_by(told: &Transcript, path: &str) -> Option<Vec<Message>> {
    let Ok(path) = path.parse();
    Some(told.state.conversation(&path)?.messages.clone())
}
