//! `DELETE /v1/swarms/{swarm_id}`

use axum::{extract::State, http::StatusCode};
use dbutil::TenantTx;
use serde::Deserialize;
use servicekit::{Caller, IfMatch, Params, Path, scope::AgentsWrite};
use shared_models::events::{agent::AgentDeleted, swarm::SwarmDeleted};
use shared_models::{ProblemBody, SwarmId};

use crate::{
    app::App,
    error::Error,
    store::{self, swarm_edge},
    visibility::Viewer,
};

/// What goes with a swarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cascade {
    /// The agents that were made with it.
    Owned,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeleteSwarm {
    /// `owned` takes the agents away that were made with the swarm, too.
    cascade: Option<Cascade>,
}

/// Take a swarm away.
///
/// Runs under way finish, and its history stays. Its triggers pause and say why. Its name is free again. Refused while it
/// is a member of another swarm; swarms that stand below it lose what they inherited.
#[utoipa::path(delete, path = "/v1/swarms/{swarm_id}", tag = "swarms",
    params(("swarm_id" = SwarmId, Path), DeleteSwarm, ("If-Match" = Option<String>, Header)),
    security(("token" = ["agents:write"])),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub(crate) async fn delete_swarm(
    State(app): State<App>,
    caller: Caller<AgentsWrite>,
    Path(swarm_id): Path<SwarmId>,
    Params(asked): Params<DeleteSwarm>,
    if_match: IfMatch,
) -> Result<StatusCode, Error> {
    let viewer = Viewer::of(&caller);
    let mut tx = app.db.begin(caller.tenant).await?;
    swarm_edge::hold(&mut tx).await?;
    let swarm = store::swarm::find_for_update(&mut tx, &viewer, swarm_id).await?;
    if !viewer.owns(swarm.owner) {
        return Err(Error::NotOwner("only its owner or an administrator deletes a swarm".into()));
    }
    if_match.check(swarm.version)?;
    if let Some(user) = swarm_edge::user(&mut tx, swarm_id).await? {
        return Err(Error::SwarmInUse(user));
    }
    if asked.cascade == Some(Cascade::Owned) {
        delete_own_agents(&mut tx, &viewer, swarm_id).await?;
    }
    store::swarm::mark_deleted(&mut tx, swarm_id).await?;
    pubsub::emit(&mut tx, &SwarmDeleted { swarm_id, name: swarm.fields.name }).await?;
    tx.commit().await?;
    app.relay.ring();
    app.grants_due.notify_one();
    Ok(StatusCode::NO_CONTENT)
}

/// Those of the agents made with the swarm that are the caller's to delete.
async fn delete_own_agents(
    tx: &mut TenantTx,
    viewer: &Viewer,
    swarm_id: SwarmId,
) -> Result<(), Error> {
    for agent_id in store::swarm::own_agents(tx, swarm_id).await? {
        let Some(agent) = store::agent::find(tx, agent_id).await? else { continue };
        if viewer.owns(agent.owner) {
            store::agent::mark_deleted(tx, agent_id).await?;
            pubsub::emit(tx, &AgentDeleted { agent_id, name: agent.fields.name }).await?;
        }
    }
    Ok(())
}
