//! `DELETE /v1/agents/{agent_id}`

use axum::{extract::State, http::StatusCode};
use servicekit::{Caller, IfMatch, Path, scope::AgentsWrite};
use shared_models::{AgentId, ProblemBody, events::agent::AgentDeleted};

use crate::{app::App, error::Error, store, visibility::Viewer};

/// Take an agent away.
///
/// Runs under way finish, and its history stays. Its triggers pause and say why. Its name is free again.
#[utoipa::path(delete, path = "/v1/agents/{agent_id}", tag = "agents",
    params(("agent_id" = AgentId, Path), ("If-Match" = Option<String>, Header)),
    security(("token" = ["agents:write"])),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub(crate) async fn delete_agent(
    State(app): State<App>,
    caller: Caller<AgentsWrite>,
    Path(agent_id): Path<AgentId>,
    if_match: IfMatch,
) -> Result<StatusCode, Error> {
    let viewer = Viewer::of(&caller);
    let mut tx = app.db.begin(caller.tenant).await?;
    let agent = store::agent::find_for_update(&mut tx, &viewer, agent_id).await?;
    if !viewer.owns(agent.owner) {
        return Err(Error::NotOwner("only its owner or an administrator deletes an agent".into()));
    }
    if_match.check(agent.version)?;
    store::agent::mark_deleted(&mut tx, agent_id).await?;
    pubsub::emit(&mut tx, &AgentDeleted { agent_id, name: agent.fields.name }).await?;
    tx.commit().await?;
    app.relay.ring();
    // Its grants end, now or with its last run.
    app.grants_due.notify_one();
    Ok(StatusCode::NO_CONTENT)
}
