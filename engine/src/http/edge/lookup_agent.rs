//! `GET /internal/agents/{agent_id}`

use axum::{Json, extract::State};
use serde::Serialize;
use servicekit::{Caller, Path, scope::AgentsLookup};
use shared_models::{AgentId, AgentScope, AgentStatus, ProblemBody, TeamId, UserId};

use crate::{app::App, error::Error, store, visibility::Viewer};

/// As much of an agent as another service needs.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct LookedUp {
    agent_id: AgentId,
    name: String,
    owner: UserId,
    scope: AgentScope,
    team_id: Option<TeamId>,
    status: AgentStatus,
}

/// Whether there is such an agent and, with somebody's token, whether that person may see it.
#[utoipa::path(get, path = "/internal/agents/{agent_id}", tag = "internal",
    params(("agent_id" = AgentId, Path)),
    security(("token" = ["agents:lookup"])),
    responses((status = 200, body = LookedUp), (status = "default", body = ProblemBody)))]
pub(crate) async fn lookup_agent(
    State(app): State<App>,
    caller: Caller<AgentsLookup>,
    Path(agent_id): Path<AgentId>,
) -> Result<Json<LookedUp>, Error> {
    let viewer = Viewer::of_subject(caller.subject());
    let mut tx = app.db.begin(caller.tenant).await?;
    let agent = store::agent::find_visible(&mut tx, &viewer, agent_id).await?;
    Ok(Json(LookedUp {
        agent_id,
        name: agent.fields.name,
        owner: agent.owner,
        scope: agent.fields.scope,
        team_id: agent.fields.team_id,
        status: agent.fields.status,
    }))
}
