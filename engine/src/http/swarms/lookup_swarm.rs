//! `GET /internal/swarms/{swarm_id}`

use axum::{Json, extract::State};
use serde::Serialize;
use servicekit::{Caller, Path, scope::AgentsLookup};
use shared_models::{AgentScope, AgentStatus, ProblemBody, SwarmId, TeamId, UserId};

use crate::{app::App, error::Error, store, visibility::Viewer};

/// As much of a swarm as another service needs.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct LookedUpSwarm {
    swarm_id: SwarmId,
    name: String,
    owner: UserId,
    scope: AgentScope,
    team_id: Option<TeamId>,
    status: AgentStatus,
}

/// Whether there is such a swarm and, with somebody's token, whether that person may see it.
#[utoipa::path(get, path = "/internal/swarms/{swarm_id}", tag = "internal",
    params(("swarm_id" = SwarmId, Path)),
    security(("token" = ["agents:lookup"])),
    responses((status = 200, body = LookedUpSwarm), (status = "default", body = ProblemBody)))]
pub(crate) async fn lookup_swarm(
    State(app): State<App>,
    caller: Caller<AgentsLookup>,
    Path(swarm_id): Path<SwarmId>,
) -> Result<Json<LookedUpSwarm>, Error> {
    let viewer = Viewer::of_subject(caller.subject());
    let mut tx = app.db.begin(caller.tenant).await?;
    let swarm = store::swarm::find_visible(&mut tx, &viewer, swarm_id).await?;
    Ok(Json(LookedUpSwarm {
        swarm_id,
        name: swarm.fields.name,
        owner: swarm.owner,
        scope: swarm.fields.scope,
        team_id: swarm.fields.team_id,
        status: swarm.fields.status,
    }))
}
