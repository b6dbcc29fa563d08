//! `GET /v1/agents/{agent_id}`

use axum::extract::State;
use servicekit::{Caller, Path, Tagged, scope::AgentsRead};
use shared_models::{AgentId, ProblemBody};

use crate::{
    app::App,
    error::Error,
    store::{self, agent::Agent},
    visibility::Viewer,
};

/// One agent. Its `ETag` is its version.
#[utoipa::path(get, path = "/v1/agents/{agent_id}", tag = "agents",
    params(("agent_id" = AgentId, Path)),
    security(("token" = ["agents:read"])),
    responses((status = 200, body = Agent), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_agent(
    State(app): State<App>,
    caller: Caller<AgentsRead>,
    Path(agent_id): Path<AgentId>,
) -> Result<Tagged<Agent>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let agent = store::agent::find_visible(&mut tx, &Viewer::of(&caller), agent_id).await?;
    Ok(Tagged(agent.version, agent))
}
