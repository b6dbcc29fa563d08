//! The life of credentials, for the runs that wait until one is connected again.

use futures::future::join_all;
use pubsub::{BatchListener, Consumer, RawEvent, Refusal, topology};
use shared_models::CredentialId;
use shared_models::events::Envelope;
use shared_models::events::credential::{
    CredentialDeleted, CredentialHealthChanged, CredentialUpdated,
};

use crate::app::App;
use crate::reconnect;

pub(crate) struct CredentialEventsListener {
    pub(crate) app: App,
}

type Heard = Envelope<RawEvent>;

impl BatchListener for CredentialEventsListener {
    type Event = RawEvent;
    const CONSUMER: &'static Consumer = &topology::ENGINE_CREDENTIALS;

    /// Needs no inbox: waking twice wakes once.
    async fn handle_batch(&self, batch: Vec<Heard>) -> Vec<Result<(), Refusal>> {
        join_all(batch.iter().map(|event| self.take(event))).await
    }
}

impl CredentialEventsListener {
    async fn take(&self, event: &Heard) -> Result<(), Refusal> {
        let credential = changed(event).map_err(|error| Refusal::Never(error.into()))?;
        let Some(credential) = credential else { return Ok(()) };
        Ok(reconnect::wake(&self.app, event.tenant, credential).await?)
    }
}

/// The credential that whoever waits for it should ask for again: it works, or never will.
fn changed(event: &Heard) -> Result<Option<CredentialId>, serde_json::Error> {
    if let Some(health) = RawEvent::read::<CredentialHealthChanged>(event)? {
        return Ok((health.health != "needs_reconnect").then_some(health.credential_id));
    }
    if let Some(updated) = RawEvent::read::<CredentialUpdated>(event)? {
        return Ok(Some(updated.credential_id));
    }
    Ok(RawEvent::read::<CredentialDeleted>(event)?.map(|deleted| deleted.credential_id))
}
