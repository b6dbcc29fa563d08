//! `eventsvc` keeps payloads that are too large for an event.

use serde_json::Value;
use servicekit::{Peer, peer::Ask};
use shared_models::{DeliveryId, TenantId};

use crate::error::Error;

#[derive(Clone, Debug)]
pub(crate) struct Eventsvc(Peer);

impl Eventsvc {
    pub(crate) fn new(peer: Peer) -> Self {
        Self(peer)
    }

    /// What a delivery brought.
    pub(crate) async fn payload(
        &self,
        tenant: TenantId,
        delivery: DeliveryId,
    ) -> Result<Value, Error> {
        let path = format!("/internal/deliveries/{delivery}/payload");
        Ok(self.0.get(Ask::new(tenant, "start a run"), &path).await?)
    }
}
