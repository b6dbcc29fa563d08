//! An agent is gone: what would start it holds its deliveries back, and says why.

use dbutil::TenantTx;
use pubsub::{Consumer, Listener, Refusal, topology};
use shared_models::events::{Envelope, agent::AgentDeleted};

use crate::{hooks::Hooks, store};

/// Hears of deleted agents.
#[derive(Debug)]
pub(crate) struct AgentDeletedListener {
    pub(crate) hooks: Hooks,
}

impl Listener for AgentDeletedListener {
    type Event = AgentDeleted;
    const CONSUMER: &'static Consumer = &topology::EVENTSVC_AGENT_DELETED;

    async fn handle(
        &self,
        tx: &mut TenantTx,
        event: &Envelope<AgentDeleted>,
    ) -> Result<(), Refusal> {
        let AgentDeleted { agent_id, name } = &event.data;
        let why = format!("its agent `{name}` was deleted");
        let paused = store::trigger::pause_of_agent(tx, *agent_id, &why).await?;
        if paused > 0 {
            tracing::info!(%agent_id, paused, "triggers pause, because their agent is gone");
            self.hooks.forget();
        }
        Ok(())
    }
}
