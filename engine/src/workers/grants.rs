//! Ends grants: all of an agent that is gone, once its last run has ended; one that no tool, no model and no run under way
//! of its agent uses any more. Level-triggered: what failed is due again.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use shared_models::AgentId;

use crate::app::App;
use crate::error::Error;
use crate::store::{agent, agent_grant};

/// Between two looks without a bell.
const SWEEPS: u32 = 30;
/// Grants looked at in one go; all have their turn.
const LOOKED_AT: i64 = 500;

/// Works until the process stops.
pub(crate) async fn run(app: App) -> anyhow::Result<()> {
    let mut looks = interval((app.runs.sweep * SWEEPS).max(Duration::from_millis(1)));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = app.grants_due.notified() => {}
            () = app.draining.cancelled() => return Ok(()),
        }
        if let Err(error) = end_grants(&app).await {
            tracing::warn!(%error, "grants of deleted agents could not be ended; they stay due");
        }
        if let Err(error) = end_unused(&app).await {
            tracing::warn!(%error, "grants that nothing uses could not be ended; they stay due");
        }
    }
}

async fn end_grants(app: &App) -> Result<(), Error> {
    for (tenant, agent) in agent::grants_due(&app.db).await? {
        let ended = async {
            app.credsvc.revoke_all(tenant, agent).await?;
            let mut tx = app.db.begin(tenant).await?;
            agent::grants_ended(&mut tx, agent).await?;
            Ok(tx.commit().await?)
        };
        go_on(agent, ended.await);
    }
    Ok(())
}

/// One that cannot be ended now stays due, and does not hold up those behind it.
fn go_on(agent: AgentId, ended: Result<(), Error>) {
    if let Err(error) = ended {
        tracing::warn!(agent.id = %agent, %error, "a grant could not be ended; it stays due");
    }
}

async fn end_unused(app: &App) -> Result<(), Error> {
    for (tenant, agent, credential) in agent_grant::take_back(&app.db, LOOKED_AT).await? {
        let ended = async {
            app.credsvc.revoke(tenant, agent, credential).await?;
            let mut tx = app.db.begin(tenant).await?;
            agent_grant::taken_back(&mut tx, agent, credential).await?;
            Ok(tx.commit().await?)
        };
        go_on(agent, ended.await);
    }
    Ok(())
}
