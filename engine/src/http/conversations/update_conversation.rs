//! `PATCH /v1/conversations/{conversation_id}`

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use servicekit::{Body, Caller, Path, merge_patch, scope::RunsWrite};
use shared_models::{ConversationId, ProblemBody};

use super::check_title;
use crate::app::App;
use crate::error::Error;
use crate::store::conversation::{self, Conversation};
use crate::visibility::Viewer;

/// What of a conversation can be changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Editable {
    #[serde(default)]
    title: Option<String>,
}

/// Give a conversation another title, or none. A JSON Merge Patch (RFC 7396).
#[utoipa::path(patch, path = "/v1/conversations/{conversation_id}", tag = "conversations",
    params(("conversation_id" = ConversationId, Path)),
    request_body(content = Object, content_type = "application/merge-patch+json", example = json!({ "title": "Refund" })),
    security(("token" = ["runs:write"])),
    responses((status = 200, body = Conversation), (status = "default", body = ProblemBody)))]
pub(crate) async fn update_conversation(
    State(app): State<App>,
    caller: Caller<RunsWrite>,
    Path(id): Path<ConversationId>,
    Body(patch): Body<Value>,
) -> Result<Json<Conversation>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let mut found = conversation::find_visible(&mut tx, &Viewer::of(&caller), id).await?;
    let asked: Editable = merge_patch(&Editable { title: found.title.clone() }, &patch)?;
    if let Some(error) = check_title(asked.title.as_deref()) {
        return Err(Error::Invalid(vec![error]));
    }
    conversation::rename(&mut tx, id, asked.title.as_deref()).await?;
    tx.commit().await?;
    found.title = asked.title;
    Ok(Json(found))
}
