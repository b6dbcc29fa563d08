//! `DELETE /v1/agents/{agent_id}`

use axum::{extract::State, http::StatusCode};
use servicekit::{Caller, IfMatch, Path, scope::AgentsWrite};
use shared_models::{AgentId, ProblemBody};

use super::create_agent::forget_grants;
use crate::{app::App, error::Error, store, visibility::Viewer};

/// Take an agent away.
///
/// Runs under way finish, and its history stays. Its name is free again.
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
    let running = store::agent::has_runs_under_way(&mut tx, agent_id).await?;
    tx.commit().await?;
    // A run under way still needs its credentials; nothing else can use them any more.
    if !running {
        forget_grants(&app, caller.tenant, agent_id).await;
    }
    Ok(StatusCode::NO_CONTENT)
}
