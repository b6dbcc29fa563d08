//! What the two listener runners share: decoding, failures, parking, and stopping while a dependency is down.
//!
//! JetStream delivers without limit; who is to blame decides what happens. An event's own failure (an error, a panic, a
//! time-out) is counted in `listener_failure` and delays the next delivery, and the last one parks the event. When
//! something around it is down nothing is counted: the message goes back, and pulling stops for a while that doubles.

pub(crate) mod batch;
pub(crate) mod decode;
pub(crate) mod gate;
pub(crate) mod pull;
pub(crate) mod single;

use std::{fmt, time::Duration};

use async_nats::jetstream::{AckKind, Message, consumer::PullConsumer};
use dbutil::Db;
use shared_models::events::Envelope;
use tokio_util::sync::CancellationToken;

use crate::{
    Bus, BusError, Refusal, inbox,
    inbox::Kept,
    listener::is_down,
    topology::{ACK_WAIT, Consumer},
};

/// How a listener is run; the default is for production.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// An event's own failures before it is parked.
    pub max_failures: i32,
    /// The wait after each own failure; the last is used again.
    pub backoff: Vec<Duration>,
    /// How long one event may take.
    pub handle_timeout: Duration,
    /// The first wait when a dependency is down; it doubles.
    pub first_pause: Duration,
    /// The longest wait when a dependency is down.
    pub longest_pause: Duration,
    /// How often replays of parked events are looked for.
    pub replay_poll: Duration,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            max_failures: 6,
            backoff: [1, 5, 30, 120, 600].map(Duration::from_secs).to_vec(),
            handle_timeout: Duration::from_secs(300),
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
            replay_poll: Duration::from_secs(1),
        }
    }
}

/// How often a slow event says that it is still being worked on.
pub(crate) const PROGRESS: Duration = Duration::from_secs(ACK_WAIT.as_secs() / 3);

/// What became of one event.
pub(crate) enum Verdict {
    Done,
    /// Taken before.
    Known,
    Later(anyhow::Error),
    Never(anyhow::Error),
    Down(anyhow::Error),
}

impl Verdict {
    pub(crate) fn of(answer: Result<(), Refusal>) -> Self {
        match answer {
            Ok(()) => Self::Done,
            Err(Refusal::Never(error)) => Self::Never(error),
            Err(Refusal::Later(error)) => Self::failed(error),
        }
    }

    pub(crate) fn failed(error: impl Into<anyhow::Error>) -> Self {
        let error = error.into();
        if is_down(&error) { Self::Down(error) } else { Self::Later(error) }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Known => "known",
            Self::Later(_) => "later",
            Self::Never(_) => "never",
            Self::Down(_) => "down",
        }
    }
}

/// Whether the listener can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Fine,
    Down,
}

impl Health {
    pub(crate) fn and(self, other: Self) -> Self {
        if self == Self::Down { self } else { other }
    }
}

#[derive(Clone)]
pub(crate) struct Runner {
    pub(crate) db: Db,
    pub(crate) bus: Bus,
    pub(crate) consumer: &'static Consumer,
    pub(crate) options: ListenOptions,
}

impl Runner {
    /// The durable consumer, as soon as NATS answers; none when stopped before.
    pub(crate) async fn durable(
        &self,
        token: &CancellationToken,
    ) -> Result<Option<PullConsumer>, BusError> {
        loop {
            match self.bus.consumer(self.consumer).await {
                Ok(durable) => return Ok(Some(durable)),
                Err(missing @ BusError::Missing { .. }) => return Err(missing),
                Err(error) => tracing::warn!(consumer = %self, %error, "waiting for NATS"),
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                () = token.cancelled() => return Ok(None),
            }
        }
    }

    /// Answers the broker according to what became of the event.
    pub(crate) async fn settle(&self, message: &Message, kept: &Kept, verdict: Verdict) -> Health {
        self.count(&verdict);
        let answer = match verdict {
            Verdict::Done | Verdict::Known => Ok(AckKind::Ack),
            Verdict::Never(error) => self.park(kept, &error).await.map(|()| AckKind::Ack),
            Verdict::Later(error) => self.fail(kept, error).await,
            Verdict::Down(error) => Err(error),
        };
        match answer {
            // Confirmed by the server; if that fails, the inbox drops the redelivery.
            Ok(AckKind::Ack) => {
                log_unsent(message.double_ack_with(AckKind::Ack).await);
                Health::Fine
            }
            Ok(kind) => {
                log_unsent(message.ack_with(kind).await);
                Health::Fine
            }
            Err(error) => {
                tracing::warn!(consumer = %self, error = format!("{error:#}"), "a dependency is down; pausing");
                self.give_back(message, self.options.first_pause).await;
                Health::Down
            }
        }
    }

    /// Hands a message back without counting anything.
    pub(crate) async fn give_back(&self, message: &Message, delay: Duration) {
        let delay = Some(delay).filter(|delay| !delay.is_zero());
        log_unsent(message.ack_with(AckKind::Nak(delay)).await);
    }

    /// Counts a failure of the event's own: it is delivered again later, or parked.
    async fn fail(&self, kept: &Kept, error: anyhow::Error) -> anyhow::Result<AckKind> {
        // Not every error says that the database went away; the database itself does.
        self.db.ping().await?;
        let (name, reason) = (self.consumer.durable, told(&error));
        let failures = inbox::count_failure(&self.db, name, kept, &reason).await?;
        if failures >= self.options.max_failures {
            self.park(kept, &error).await?;
            return Ok(AckKind::Ack);
        }
        tracing::info!(consumer = %self, message.id = %kept.id, failures, reason, "an event failed; trying again later");
        let step = (failures.max(1) as usize - 1).min(self.options.backoff.len().saturating_sub(1));
        Ok(AckKind::Nak(self.options.backoff.get(step).copied()))
    }

    pub(crate) async fn park(&self, kept: &Kept, error: &anyhow::Error) -> anyhow::Result<()> {
        let reason = told(error);
        inbox::park(&self.db, self.consumer.durable, kept, &reason).await?;
        metrics::counter!("pubsub_parked_total", "consumer" => self.consumer.durable).increment(1);
        tracing::error!(consumer = %self, tenant.id = %kept.tenant, message.id = %kept.id, reason, "an event was parked");
        Ok(())
    }

    async fn park_again(&self, kept: &Kept, error: &anyhow::Error) -> anyhow::Result<()> {
        let reason = told(error);
        inbox::park_again(&self.db, self.consumer.durable, kept, &reason).await?;
        tracing::error!(consumer = %self, tenant.id = %kept.tenant, message.id = %kept.id, reason, "a parked event failed again");
        Ok(())
    }

    /// What becomes of a parked event that was tried once more and is still in the table.
    pub(crate) async fn settle_replay(&self, kept: &Kept, verdict: Verdict) -> Health {
        self.count(&verdict);
        let answer = match verdict {
            Verdict::Done | Verdict::Known => Ok(()),
            Verdict::Never(error) => self.park_again(kept, &error).await,
            Verdict::Later(error) => match self.db.ping().await {
                Ok(()) => self.park_again(kept, &error).await,
                Err(down) => Err(down.into()),
            },
            Verdict::Down(error) => Err(error),
        };
        if answer.is_ok() { Health::Fine } else { Health::Down }
    }

    /// A span for handling one event, child of what caused it.
    pub(crate) fn span<E>(&self, envelope: &Envelope<E>) -> tracing::Span {
        let span = tracing::info_span!(
            "event",
            consumer = %self,
            r#type = envelope.kind,
            tenant.id = %envelope.tenant,
            message.id = %envelope.id,
        );
        crate::trace::adopt(&span, envelope.traceparent.as_deref());
        span
    }

    fn count(&self, verdict: &Verdict) {
        let (consumer, outcome) = (self.consumer.durable, verdict.name());
        metrics::counter!("pubsub_handled_total", "consumer" => consumer, "outcome" => outcome)
            .increment(1);
    }
}

impl fmt::Display for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.consumer.durable)
    }
}

/// Why, as it can be stored: an error may quote what it was given, and Postgres keeps no NUL.
fn told(error: &anyhow::Error) -> String {
    format!("{error:#}").replace('\0', "\u{fffd}")
}

pub(crate) fn log_unsent(sent: Result<(), async_nats::Error>) {
    if let Err(error) = sent {
        tracing::debug!(%error, "an acknowledgement was not confirmed; a redelivery will be dropped");
    }
}

/// What a panic said.
pub(crate) fn panicked(panic: Box<dyn std::any::Any + Send>) -> anyhow::Error {
    let said = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    anyhow::anyhow!("the listener panicked: {}", said.unwrap_or_default())
}
