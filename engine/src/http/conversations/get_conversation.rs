//! `GET /v1/conversations/{conversation_id}`

use axum::{Json, extract::State};
use servicekit::{Caller, Path, scope::RunsRead};
use shared_models::{ConversationId, ProblemBody};

use crate::app::App;
use crate::error::Error;
use crate::store::conversation::{self, Conversation};
use crate::visibility::Viewer;

/// See a conversation. Its runs are at `/v1/runs?conversation_id=`.
#[utoipa::path(get, path = "/v1/conversations/{conversation_id}", tag = "conversations",
    params(("conversation_id" = ConversationId, Path)),
    security(("token" = ["runs:read"])),
    responses((status = 200, body = Conversation), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_conversation(
    State(app): State<App>,
    caller: Caller<RunsRead>,
    Path(id): Path<ConversationId>,
) -> Result<Json<Conversation>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    Ok(Json(conversation::find_visible(&mut tx, &Viewer::of(&caller), id).await?))
}
