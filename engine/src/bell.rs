//! The doorbell: says to every engine process that there may be work. A lost ring costs at most one sweep.

use std::sync::Arc;

use pubsub::Bus;
use shared_models::RunId;
use tokio::sync::Notify;

const SUBJECT: &str = "work.ring";

#[derive(Clone)]
pub(crate) struct Bell {
    bus: Bus,
    here: Arc<Notify>,
}

impl Bell {
    pub(crate) fn new(bus: Bus) -> Self {
        Self { bus, here: Arc::new(Notify::new()) }
    }

    /// There is something to claim.
    pub(crate) async fn ring(&self) {
        self.here.notify_one();
        self.send("").await;
    }

    /// A run was told something: its owner should look, wherever it is.
    pub(crate) async fn ring_for(&self, run: RunId) {
        self.here.notify_one();
        self.send(&run.to_string()).await;
    }

    /// Work for this very process: a slot has become free, say.
    pub(crate) fn ring_here(&self) {
        self.here.notify_one();
    }

    /// Waits for the next ring.
    pub(crate) async fn heard(&self) {
        self.here.notified().await;
    }

    pub(crate) async fn subscribe(&self) -> anyhow::Result<async_nats::Subscriber> {
        Ok(self.bus.client().subscribe(SUBJECT).await?)
    }

    async fn send(&self, text: &str) {
        // Without a connection messages would pile up in the client until it makes us wait.
        if !self.bus.is_connected() {
            return;
        }
        let payload = text.to_owned().into();
        if let Err(error) = self.bus.client().publish(SUBJECT, payload).await {
            tracing::debug!(%error, "the bell is out of order; the sweeper will see it");
        }
    }
}
