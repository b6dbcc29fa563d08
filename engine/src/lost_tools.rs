//! Agents that have lost tools because the tools are gone: that is a version of theirs, too.
//!
//! Everywhere else an agent is held before its tools are. So this is done after the tools have gone, for one agent at a
//! time; what a crash in between leaves undone is in the agent's next version.

use shared_models::{AgentId, TenantId, UserId};

use crate::{app::App, error::Error, store};

/// Makes a version of each agent that has other tools now than it had.
pub(crate) async fn note(app: &App, tenant: TenantId, by: UserId, mut agents: Vec<AgentId>) {
    agents.sort_unstable();
    agents.dedup();
    for agent in agents {
        if let Err(error) = note_one(app, tenant, by, agent).await {
            tracing::warn!(%error, %agent, "its loss of a tool will be in its next version");
        }
    }
}

async fn note_one(app: &App, tenant: TenantId, by: UserId, agent: AgentId) -> Result<(), Error> {
    let mut tx = app.db.begin(tenant).await?;
    store::agent::hold(&mut tx, agent).await?;
    if let Some(agent) = store::agent::find(&mut tx, agent).await? {
        store::agent::tools_changed(&mut tx, &agent, by).await?;
    }
    tx.commit().await?;
    Ok(())
}
