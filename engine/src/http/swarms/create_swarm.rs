//! `POST /v1/swarms`

use axum::{extract::State, response::Response};
use servicekit::{Body, Caller, Once, scope::AgentsWrite};
use shared_models::{ProblemBody, SwarmId};

use super::complete::{complete, make_agents};
use crate::{
    app::App,
    error::Error,
    http::edge,
    store::{self, swarm::Swarm, swarm_edge},
    swarm::SwarmFields,
};

/// Make a swarm.
///
/// It is yours, and its members are agents and swarms that you may see; or agents that are made with it.
#[utoipa::path(post, path = "/v1/swarms", tag = "swarms", request_body = SwarmFields,
    params(("Idempotency-Key" = Option<String>, Header)),
    security(("token" = ["agents:write"])),
    responses((status = 201, body = Swarm), (status = "default", body = ProblemBody)))]
pub(crate) async fn create_swarm(
    State(app): State<App>,
    caller: Caller<AgentsWrite>,
    mut once: Once,
    Body(asked): Body<SwarmFields>,
) -> Result<Response, Error> {
    let owner = caller.person()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(stored) = once.begin(&mut tx, &caller, &asked).await? {
        return Ok(stored);
    }
    swarm_edge::hold(&mut tx).await?;
    let mut fields = complete(&mut tx, &caller, asked, None).await?;
    let made = make_agents(&mut tx, &caller, owner, &mut fields).await?;
    let swarm_id = SwarmId::mint();
    let swarm = store::swarm::insert(&mut tx, swarm_id, owner, &fields).await?;
    for agent in made {
        store::swarm::made_agent(&mut tx, swarm_id, agent).await?;
    }
    once.remember(&mut tx, edge::CREATED, &swarm).await?;
    tx.commit().await?;
    Ok(edge::created(swarm.version, swarm))
}
