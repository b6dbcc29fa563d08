//! A swarm is gone: what would start it holds its deliveries back, and says why.

use dbutil::TenantTx;
use pubsub::{Consumer, Listener, Refusal, topology};
use shared_models::events::{Envelope, swarm::SwarmDeleted};

use crate::{hooks::Hooks, store};

/// Hears of deleted swarms.
#[derive(Debug)]
pub(crate) struct SwarmDeletedListener {
    pub(crate) hooks: Hooks,
}

impl Listener for SwarmDeletedListener {
    type Event = SwarmDeleted;
    const CONSUMER: &'static Consumer = &topology::EVENTSVC_SWARM_DELETED;

    async fn handle(
        &self,
        tx: &mut TenantTx,
        event: &Envelope<SwarmDeleted>,
    ) -> Result<(), Refusal> {
        let SwarmDeleted { swarm_id, name } = &event.data;
        let why = format!("its swarm `{name}` was deleted");
        let paused = store::trigger::pause_of_swarm(tx, *swarm_id, &why).await?;
        if paused > 0 {
            tracing::info!(%swarm_id, paused, "triggers pause, because their swarm is gone");
            self.hooks.forget();
        }
        Ok(())
    }
}
