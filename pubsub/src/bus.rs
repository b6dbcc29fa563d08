//! The connection to NATS.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{
    Client, ConnectOptions, Event as Happening,
    connection::State,
    jetstream::{
        self,
        consumer::{Consumer as Durable, pull},
        context::{ContextBuilder, GetStreamErrorKind},
        stream::ConsumerErrorKind,
    },
};
use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use shared_models::{Service, events::Stream};
use tokio::sync::watch;

use crate::topology::{CONSUMERS, Consumer, StreamSpec};

const TIMEOUT: Duration = Duration::from_secs(5);
const LONGEST_RECONNECT_DELAY: u64 = 2_000;
/// More than two of the relay's largest groups, so that the relay never waits for a permit.
const MAX_ACK_INFLIGHT: usize = 8_192;

/// Where NATS is and as whom to connect.
#[derive(Clone, Debug)]
pub struct NatsConfig {
    /// `nats://host:port`, or several, separated by commas.
    pub url: String,
    /// The service's name.
    pub user: String,
    /// The user's password.
    pub password: SecretString,
}

/// Why the bus cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// No connection could be made.
    #[error("cannot connect to NATS at {url}: {source}")]
    Connect {
        /// Where.
        url: String,
        /// What the client said.
        source: async_nats::ConnectError,
    },
    /// NATS does not answer.
    #[error("NATS does not answer: {0}")]
    Unavailable(String),
    /// A stream or consumer does not exist.
    #[error("{what} does not exist; run `switchyard migrate` first")]
    Missing {
        /// Which stream or consumer.
        what: String,
    },
}

/// A service's connection to NATS. Cheap to clone; reconnects for ever.
#[derive(Clone)]
pub struct Bus {
    service: Service,
    client: Client,
    jetstream: jetstream::Context,
    connects: watch::Receiver<u64>,
    changes: Arc<AtomicU64>,
}

impl Bus {
    /// Connects as `config.user`. Fails when NATS is away or refuses the password; once connected, a lost
    /// connection is made again without end.
    pub async fn connect(service: Service, config: &NatsConfig) -> Result<Self, BusError> {
        let (connected, mut connects) = watch::channel(0);
        let changes = Arc::new(AtomicU64::new(0));
        let changed = changes.clone();
        let options = ConnectOptions::new()
            .name(service.name())
            .user_and_password(config.user.clone(), config.password.expose_secret().to_owned())
            // Replies come to a prefix of the service's own, so that no other user may listen in.
            .custom_inbox_prefix(format!("_INBOX_{service}"))
            .connection_timeout(TIMEOUT)
            .request_timeout(Some(TIMEOUT))
            .reconnect_delay_callback(|attempts| {
                let doubled = 50_u64.saturating_mul(1 << attempts.min(10));
                Duration::from_millis(doubled.min(LONGEST_RECONNECT_DELAY))
            })
            .event_callback(move |happening| {
                tell(service, &happening);
                if matches!(happening, Happening::Connected | Happening::Disconnected) {
                    changed.fetch_add(1, Ordering::SeqCst);
                }
                if matches!(happening, Happening::Connected) {
                    connected.send_modify(|count| *count += 1);
                }
                std::future::ready(())
            });
        let servers: Vec<&str> = config.url.split(',').map(str::trim).collect();
        let client = options
            .connect(servers)
            .await
            .map_err(|source| BusError::Connect { url: config.url.clone(), source })?;
        // This connection has been counted before anyone waits for the next one.
        tokio::time::timeout(TIMEOUT, connects.changed()).await.ok();
        let jetstream = ContextBuilder::new()
            .timeout(TIMEOUT)
            .ack_timeout(TIMEOUT)
            .max_ack_inflight(MAX_ACK_INFLIGHT)
            .build(client.clone());
        Ok(Self { service, client, jetstream, connects, changes })
    }

    /// As which service it is connected.
    pub fn service(&self) -> Service {
        self.service
    }

    /// Core NATS: doorbells and live deltas.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// JetStream.
    pub fn jetstream(&self) -> &jetstream::Context {
        &self.jetstream
    }

    /// Whether there is a connection right now.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Asks JetStream for an answer.
    pub async fn ping(&self) -> Result<(), BusError> {
        if !self.is_connected() {
            return Err(BusError::Unavailable("not connected".into()));
        }
        // Not the client's own call: it sends a body, which older servers refuse.
        let answer = self.client.request("$JS.API.INFO", Bytes::new()).await;
        answer.map(drop).map_err(|error| BusError::Unavailable(error.to_string()))
    }

    /// Looks a durable consumer up; services never create one.
    pub async fn consumer(&self, consumer: &Consumer) -> Result<Durable<pull::Config>, BusError> {
        let name = consumer.stream.name();
        let found = self.jetstream.get_consumer_from_stream(consumer.durable, name).await;
        found.map_err(|error| match error.kind() {
            ConsumerErrorKind::JetStream(refusal) if refusal.code() == 404 => BusError::Missing {
                what: format!("consumer `{}` of stream {name}", consumer.durable),
            },
            _ => BusError::Unavailable(error.to_string()),
        })
    }

    /// The first sequence a stream still has, and the last it has given out.
    pub(crate) async fn sequences(&self, stream: Stream) -> Result<(u64, u64), BusError> {
        let name = stream.name();
        let found = self.jetstream.get_stream(name).await;
        let stream = found.map_err(|error| match error.kind() {
            GetStreamErrorKind::JetStream(refusal) if refusal.code() == 404 => {
                BusError::Missing { what: format!("stream {name}") }
            }
            _ => BusError::Unavailable(error.to_string()),
        })?;
        let state = &stream.cached_info().state;
        Ok((state.first_sequence, state.last_sequence))
    }

    /// Up to which sequence every hearer of a stream has acknowledged what concerns it.
    pub(crate) async fn heard_up_to(&self, spec: &StreamSpec) -> Result<i64, BusError> {
        // Never beyond what the stream holds: one that came back empty or from an old copy has hearers that wait for nothing.
        let mut heard = self.sequences(spec.stream).await?.1 as i64;
        for consumer in CONSUMERS.iter().filter(|consumer| consumer.stream == spec.stream) {
            let durable = self.consumer(consumer).await?;
            let info = durable.cached_info();
            // The floor of one that has caught up stays where the last event was that concerned it.
            if info.num_pending > 0 || info.num_ack_pending > 0 {
                heard = heard.min(info.ack_floor.stream_sequence as i64);
            }
        }
        Ok(heard)
    }

    /// How often the connection came or went. It is counted a moment after it can be used again, but when it was lost long
    /// before that.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// Changes each time a connection is made.
    pub(crate) fn connects(&self) -> watch::Receiver<u64> {
        self.connects.clone()
    }
}

/// Everything up to this stream sequence has been acknowledged by the consumer. With the outbox's `stream_seq` it tells
/// which events will not be delivered again by themselves.
pub async fn consumer_ack_floor(bus: &Bus, consumer: &Consumer) -> Result<u64, BusError> {
    Ok(bus.consumer(consumer).await?.cached_info().ack_floor.stream_sequence)
}

/// The last sequence a stream has given out: everything that was published until now is at or below it.
pub async fn last_sequence(bus: &Bus, stream: Stream) -> Result<u64, BusError> {
    Ok(bus.sequences(stream).await?.1)
}

fn tell(service: Service, happening: &Happening) {
    match happening {
        Happening::Connected => tracing::info!(%service, "connected to NATS"),
        Happening::Disconnected => tracing::warn!(%service, "lost the connection to NATS"),
        Happening::SlowConsumer(subscription) => {
            tracing::warn!(%service, subscription, "a subscription is too slow; NATS drops messages");
        }
        Happening::ServerError(error) => tracing::warn!(%service, %error, "NATS refused something"),
        Happening::ClientError(error) => tracing::debug!(%service, %error, "NATS client"),
        Happening::LameDuckMode | Happening::Draining | Happening::Closed => {
            tracing::info!(%service, state = %happening, "NATS connection");
        }
    }
}
