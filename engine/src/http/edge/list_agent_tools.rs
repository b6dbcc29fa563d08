//! `GET /v1/agents/{agent_id}/tools`

use axum::{Json, extract::State};
use dbutil::Page;
use servicekit::{Caller, Path, scope::AgentsRead};
use shared_models::{AgentId, ProblemBody};

use crate::{
    app::App,
    error::Error,
    store::{self, agent_tool::Link},
    visibility::Viewer,
};

/// An agent's tools, by priority. There is only ever one page.
#[utoipa::path(get, path = "/v1/agents/{agent_id}/tools", tag = "agents",
    params(("agent_id" = AgentId, Path)),
    security(("token" = ["agents:read"])),
    responses((status = 200, body = Page<Link>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_agent_tools(
    State(app): State<App>,
    caller: Caller<AgentsRead>,
    Path(agent_id): Path<AgentId>,
) -> Result<Json<Page<Link>>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    store::agent::find_visible(&mut tx, &Viewer::of(&caller), agent_id).await?;
    let items = store::agent_tool::list(&mut tx, agent_id).await?;
    Ok(Json(Page { items, next_cursor: None }))
}
