//! The hearer's side, as a service writes it.

use dbutil::TenantTx;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use shared_models::events::{Envelope, Event};

use crate::topology::Consumer;

/// What a listener can be given: one event type, or [`RawEvent`].
pub trait Heard: DeserializeOwned + Send + Sync + 'static {
    /// Whether an event of this name and version is one.
    fn is(kind: &str, version: u8) -> bool;
}

impl<E: Event> Heard for E {
    fn is(kind: &str, version: u8) -> bool {
        kind == E::NAME && version == E::VERSION
    }
}

/// Any event of a stream, for a consumer whose filter covers several types; the envelope says which it is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct RawEvent(pub Value);

impl Heard for RawEvent {
    fn is(_: &str, _: u8) -> bool {
        true
    }
}

impl RawEvent {
    /// The event as an `E`, or none when it is of another type or version.
    pub fn read<E: Event>(envelope: &Envelope<Self>) -> Result<Option<E>, serde_json::Error> {
        if !E::is(&envelope.kind, envelope.version) {
            return Ok(None);
        }
        E::deserialize(&envelope.data.0).map(Some)
    }
}

/// Reacts to events, one at a time. Runs inside a transaction that also remembers the message, so a redelivery is
/// dropped before `handle` is called.
pub trait Listener: Send + Sync + 'static {
    /// What it hears.
    type Event: Heard;
    /// The durable consumer. It is the cursor: renaming it replays the stream.
    const CONSUMER: &'static Consumer;

    /// Does what the event asks for, in `tx`. Events are handled concurrently and may arrive out of order.
    fn handle(
        &self,
        tx: &mut TenantTx,
        event: &Envelope<Self::Event>,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;
}

/// Reacts to many events in one grouped write of its own.
pub trait BatchListener: Send + Sync + 'static {
    /// What it hears.
    type Event: Heard;
    /// The durable consumer. It is the cursor: renaming it replays the stream.
    const CONSUMER: &'static Consumer;

    /// Handles the batch and answers for each event, in order. The listener itself inserts
    /// `(consumer, message_id, tenant_id)` into `inbox`, `on conflict do nothing`, in the transaction of the effect,
    /// and answers `Ok` for what was there already. It answers after the commit.
    fn handle_batch(
        &self,
        batch: Vec<Envelope<Self::Event>>,
    ) -> impl Future<Output = Vec<Result<(), Refusal>>> + Send;
}

/// Why a listener did not take an event.
#[derive(Debug)]
pub enum Refusal {
    /// It did not work this time; deliver it again, later each time. Counts towards parking unless a dependency was
    /// down (see [`DependencyDown`]).
    Later(anyhow::Error),
    /// This event will never work; park it for a person and move on.
    Never(anyhow::Error),
}

/// Says, anywhere in the chain of a `Later`, that something else is down: the event is innocent, and the listener stops
/// pulling for a while. Postgres being away is recognised without it.
#[derive(Debug, thiserror::Error)]
#[error("{0} is down")]
pub struct DependencyDown(pub &'static str);

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Later(error.into())
    }
}

/// Whether an error says that something else is down.
pub(crate) fn is_down(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<DependencyDown>()
            || cause.downcast_ref::<sqlx::Error>().is_some_and(dbutil::is_down)
            || cause.downcast_ref::<std::io::Error>().is_some_and(is_connection_lost)
    })
}

fn is_connection_lost(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::NotConnected
            | Kind::BrokenPipe
            | Kind::UnexpectedEof
    )
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn only_a_broken_dependency_takes_the_blame_from_an_event() {
        let down = anyhow!(DependencyDown("credsvc")).context("asking for a secret");
        let refused = anyhow!(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));

        assert!(is_down(&down));
        assert!(is_down(&anyhow!(sqlx::Error::PoolTimedOut)));
        assert!(is_down(&refused));
        assert!(!is_down(&anyhow!(sqlx::Error::RowNotFound)));
        assert!(!is_down(&anyhow!("no such agent")));
    }
}
