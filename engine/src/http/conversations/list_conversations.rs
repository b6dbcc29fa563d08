//! `GET /v1/conversations`

use axum::{Json, extract::State};
use dbutil::{Page, PageQuery};
use serde::Deserialize;
use servicekit::{Caller, FieldError, Params, scope::RunsRead};
use shared_models::{AgentId, ProblemBody};

use crate::app::App;
use crate::error::Error;
use crate::store::conversation::{self, Conversation, Filter};
use crate::visibility::Viewer;

/// What to narrow the list to.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListConversations {
    agent_id: Option<AgentId>,
    /// Held with exactly this person.
    end_user_id: Option<String>,
    /// Part of the title, in any case.
    q: Option<String>,
    /// How many at most: 1 to 100, 50 unless said.
    limit: Option<u32>,
    /// Where the last page ended (`next_cursor`).
    cursor: Option<String>,
}

/// List the conversations you may see, newest first.
#[utoipa::path(get, path = "/v1/conversations", tag = "conversations", params(ListConversations),
    security(("token" = ["runs:read"])),
    responses((status = 200, body = Page<Conversation>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_conversations(
    State(app): State<App>,
    caller: Caller<RunsRead>,
    Params(asked): Params<ListConversations>,
) -> Result<Json<Page<Conversation>>, Error> {
    let page = PageQuery { limit: asked.limit, cursor: asked.cursor };
    let texts = [("end_user_id", &asked.end_user_id), ("q", &asked.q)];
    let bad =
        texts.into_iter().filter(|(_, text)| text.as_deref().is_some_and(|t| t.contains('\0')));
    let errors: Vec<_> =
        bad.map(|(name, _)| FieldError::new(name, "must not contain U+0000")).collect();
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    let filter = Filter { agent: asked.agent_id, end_user_id: asked.end_user_id, q: asked.q };
    let mut tx = app.db.begin(caller.tenant).await?;
    let listed = conversation::list_page(&mut tx, &Viewer::of(&caller), &filter, &page).await?;
    Ok(Json(listed))
}
