//! `DELETE /v1/conversations/{conversation_id}`

use axum::{extract::State, http::StatusCode};
use servicekit::{Caller, Path, scope::RunsWrite};
use shared_models::{ConversationId, ProblemBody};

use crate::app::App;
use crate::conversations::{self, Fate};
use crate::error::Error;
use crate::store::{conversation, turn};
use crate::visibility::Viewer;

/// Forget a conversation: what was said in it, and what its agent was told to remember about it.
///
/// Runs of it that are under way are cancelled. Its runs stay, with what was said in each, for as long as runs do.
#[utoipa::path(delete, path = "/v1/conversations/{conversation_id}", tag = "conversations",
    params(("conversation_id" = ConversationId, Path)),
    security(("token" = ["runs:write"])),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub(crate) async fn delete_conversation(
    State(app): State<App>,
    caller: Caller<RunsWrite>,
    Path(id): Path<ConversationId>,
) -> Result<StatusCode, Error> {
    let by = caller.person()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let found = conversation::find_visible(&mut tx, &Viewer::of(&caller), id).await?;
    conversation::hold(&mut tx, id).await?.ok_or(Error::ConversationNotFound(id))?;
    let open = turn::open(&mut tx, id).await?;
    let why = (by, "its conversation was deleted");
    let stopped = conversations::stop(&mut tx, &open, why, Fate::Forgotten).await?;
    conversation::delete(&mut tx, &found).await?;
    tx.commit().await?;
    app.announce_with(&stopped).await;
    Ok(StatusCode::NO_CONTENT)
}
