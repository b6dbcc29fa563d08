//! Leases of secrets end when their credential changes, breaks, is taken back or deleted: how a service that keeps a secret
//! for a while hears of it.
//!
//! Each process has a subscription of its own on core NATS, beside the stream and without a cursor, so every replica hears
//! at once. What was said while there was no connection is made up for: nothing that was kept before one was made is
//! believed after it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_nats::Subscriber;
use futures::StreamExt as _;
use serde::Deserialize;
use shared_models::{CredentialId, events::Envelope};
use tokio_util::sync::CancellationToken;

use crate::{Bus, topology};

/// No secret is kept for longer, so what ended before is of no interest any more.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// How many are remembered before the old ones are forgotten.
const MANY: usize = 4_096;

/// What ended, and when. Cheap to clone.
#[derive(Clone)]
pub struct Ended {
    bus: Bus,
    ended: Arc<Mutex<HashMap<CredentialId, Instant>>>,
}

/// The ear; to be run for as long as the service lives.
pub struct Hearing {
    ended: Ended,
    events: Subscriber,
}

/// A moment before a secret was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    at: Instant,
    /// How often the connection had come or gone.
    changes: u64,
}

/// As much of an event as matters here.
#[derive(Deserialize)]
struct About {
    credential_id: CredentialId,
}

impl std::fmt::Debug for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ended")
    }
}

impl Ended {
    /// Subscribes. Whatever ends from now on is heard once [`Hearing::run`] is.
    pub async fn subscribe(bus: Bus) -> anyhow::Result<(Self, Hearing)> {
        let events = bus.client().subscribe(topology::CREDENTIAL_LIFE).await?;
        // An answer says that the server has seen what was sent before the question.
        bus.ping().await?;
        let ended = Self { bus, ended: Arc::default() };
        Ok((ended.clone(), Hearing { ended, events }))
    }

    /// To be taken right before a secret is asked for.
    pub fn asked(&self) -> Asked {
        Asked { at: Instant::now(), changes: self.bus.changes() }
    }

    /// Whether the end of a lease would be heard. While not, nothing may be kept.
    pub fn is_heard(&self) -> bool {
        self.bus.is_connected()
    }

    /// Whether a secret that was asked for then may still be used.
    pub fn holds(&self, credential: CredentialId, asked: &Asked) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let since = ended.get(&credential).is_none_or(|at| *at < asked.at);
        since && self.is_heard() && asked.changes == self.bus.changes()
    }

    fn end(&self, credential: CredentialId) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.insert(credential, Instant::now());
        if ended.len() > MANY {
            ended.retain(|_, at| at.elapsed() < LONGEST);
        }
    }
}

impl Hearing {
    /// Listens until the token is cancelled.
    pub async fn run(mut self, token: CancellationToken) -> anyhow::Result<()> {
        loop {
            let event = tokio::select! {
                event = self.events.next() => event,
                () = token.cancelled() => return Ok(()),
            };
            let Some(event) = event else { anyhow::bail!("the subscription to credentials ended") };
            match serde_json::from_slice::<Envelope<About>>(&event.payload) {
                Ok(event) => self.ended.end(event.data.credential_id),
                Err(error) => tracing::warn!(%error, "an event about a credential cannot be read"),
            }
        }
    }
}
