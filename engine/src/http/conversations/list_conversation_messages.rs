//! `GET /v1/conversations/{conversation_id}/messages`

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use dbutil::{Cursor, Page, PageQuery};
use serde::Serialize;
use serde_json::Value;
use servicekit::{Caller, Params, Path, Problem, scope::RunsRead};
use shared_models::{ConversationId, ProblemBody, RunId};
use utoipa::ToSchema;

use crate::app::App;
use crate::live::redacted;
use crate::store::conversation;
use crate::store::conversation_message::{self, Said};
use crate::visibility::Viewer;

/// A message that a conversation remembers.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RememberedMessage {
    /// Its place in the conversation, from 0 on.
    n: i64,
    /// The run in which it was said.
    run_id: RunId,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    remembered_at: DateTime<Utc>,
    #[schema(value_type = Object)]
    message: Value,
}

/// List what a conversation remembers, in order: what its ended runs said. Each message has a `role`; content is left out
/// when you may not see it.
#[utoipa::path(get, path = "/v1/conversations/{conversation_id}/messages", tag = "conversations",
    params(("conversation_id" = ConversationId, Path), PageQuery),
    security(("token" = ["runs:read"])),
    responses((status = 200, body = Page<RememberedMessage>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_conversation_messages(
    State(app): State<App>,
    caller: Caller<RunsRead>,
    Path(id): Path<ConversationId>,
    Params(page): Params<PageQuery>,
) -> Result<Json<Page<RememberedMessage>>, Problem> {
    let (after, limit) = (page.after()?, page.limit());
    let mut tx = app.db.begin(caller.tenant).await?;
    conversation::find_visible(&mut tx, &Viewer::of(&caller), id).await?;
    // The number of the message takes the place of the id.
    let first = after.map_or(0, |cursor| i64::try_from(cursor.id.as_u128()).unwrap_or(i64::MAX));
    let said = conversation_message::list(&mut tx, id, first, limit + 1).await?;
    drop(tx);
    let position = |said: &Said| Cursor {
        at: said.at,
        id: uuid::Uuid::from_u128(u128::from(said.n.unsigned_abs()) + 1),
    };
    let page =
        Page::new(said, limit, position).map(|said| RememberedMessage::of(&said, caller.payloads));
    let items: Result<_, _> = page.items.into_iter().collect();
    Ok(Json(Page { items: items.map_err(Problem::internal)?, next_cursor: page.next_cursor }))
}

impl RememberedMessage {
    fn of(said: &Said, payloads: bool) -> Result<Self, serde_json::Error> {
        let message: Value = serde_json::from_slice(&said.body)?;
        let message = if payloads { message } else { redacted(&message) };
        Ok(Self { n: said.n, run_id: said.run, remembered_at: said.at, message })
    }
}
