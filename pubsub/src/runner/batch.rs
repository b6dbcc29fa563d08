//! Runs a [`BatchListener`]: whatever is waiting, in one call, with the acknowledgements pipelined.

use std::{panic::AssertUnwindSafe, sync::Arc};

use anyhow::anyhow;
use async_nats::jetstream::{AckKind, Message};
use dbutil::Db;
use futures::FutureExt;
use shared_models::events::Envelope;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{
    Health, ListenOptions, Runner, Verdict,
    decode::{decode, keep},
    gate::Gate,
    log_unsent, panicked,
    pull::Puller,
};
use crate::{BatchListener, Bus, inbox};

/// Runs a batch listener until the token is cancelled; the batch under way is finished. Fails only when its consumer
/// does not exist.
pub async fn listen_batch<L: BatchListener>(
    db: Db,
    bus: Bus,
    listener: Arc<L>,
    token: CancellationToken,
) -> anyhow::Result<()> {
    listen_batch_with(db, bus, listener, ListenOptions::default(), token).await
}

/// [`listen_batch`], otherwise.
pub async fn listen_batch_with<L: BatchListener>(
    db: Db,
    bus: Bus,
    listener: Arc<L>,
    options: ListenOptions,
    token: CancellationToken,
) -> anyhow::Result<()> {
    let runner = Runner { db, bus, consumer: L::CONSUMER, options };
    let Some(durable) = runner.durable(&token).await? else { return Ok(()) };
    let many = Many { runner: runner.clone(), listener };
    let mut puller = Puller::new(&runner, durable);
    let mut connects = runner.bus.connects();
    let mut replays = interval(runner.options.replay_poll);
    replays.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut gate = Gate::new(&runner.options);

    while !token.is_cancelled() {
        let most = gate.limit(runner.consumer.concurrency);
        if most > 0 {
            // Twice what is handled at once, so that the next batch arrives meanwhile.
            puller.ask(2 * most).await;
        }
        let health = tokio::select! {
            () = token.cancelled() => None,
            next = puller.next(), if most > 0 || puller.is_open() => match next {
                Some(first) if most > 0 => {
                    let messages = waiting(first, &mut puller, most);
                    Some(many.deliver(messages).await)
                }
                Some(message) => {
                    runner.give_back(&message, gate.left()).await;
                    None
                }
                None => None,
            },
            // The server has forgotten the pull.
            Ok(()) = connects.changed() => {
                puller.close().await;
                None
            }
            _ = replays.tick(), if most > 0 => many.replay().await,
            () = gate.reopen(&runner.db), if gate.is_closed() => None,
        };
        if let Some(health) = health {
            gate.note(health);
        }
    }
    puller.close().await;
    Ok(())
}

/// What has arrived by now; nothing is waited for.
fn waiting(first: Message, puller: &mut Puller, most: usize) -> Vec<Message> {
    let mut messages = vec![first];
    while messages.len() < most
        && let Some(message) = puller.ready()
    {
        messages.push(message);
    }
    messages
}

struct Many<L> {
    runner: Runner,
    listener: Arc<L>,
}

impl<L: BatchListener> Many<L> {
    async fn deliver(&self, messages: Vec<Message>) -> Health {
        let mut health = Health::Fine;
        let (mut envelopes, mut readable) = (Vec::new(), Vec::new());
        for message in messages {
            match decode(self.runner.consumer, &message.subject, &message.payload) {
                Ok(envelope) => {
                    envelopes.push(envelope);
                    readable.push(message);
                }
                Err(error) => {
                    let kept = keep(&message);
                    health = health
                        .and(self.runner.settle(&message, &kept, Verdict::Never(error)).await);
                }
            }
        }
        for (message, verdict) in readable.iter().zip(self.handle(envelopes, &readable).await) {
            health = health.and(self.answer(message, verdict).await);
        }
        health
    }

    /// A success is acknowledged without waiting for the server: a lost one is redelivered, and the inbox drops it.
    async fn answer(&self, message: &Message, verdict: Verdict) -> Health {
        if matches!(verdict, Verdict::Done | Verdict::Known) {
            self.runner.count(&verdict);
            log_unsent(message.ack_with(AckKind::Ack).await);
            return Health::Fine;
        }
        self.runner.settle(message, &keep(message), verdict).await
    }

    /// Calls the listener; when a batch panics or runs out of time, each event alone, so that one does not take the
    /// others along.
    async fn handle(
        &self,
        envelopes: Vec<Envelope<L::Event>>,
        messages: &[Message],
    ) -> Vec<Verdict> {
        let count = envelopes.len();
        if count == 0 {
            return Vec::new();
        }
        match self.call(envelopes).await {
            Ok(verdicts) => verdicts,
            Err(error) if count == 1 => vec![Verdict::Later(error)],
            Err(error) => {
                tracing::warn!(consumer = %self.runner, %error, "a batch failed; taking its events one by one");
                self.one_by_one(messages).await
            }
        }
    }

    async fn one_by_one(&self, messages: &[Message]) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(messages.len());
        for message in messages {
            let verdict = match decode(self.runner.consumer, &message.subject, &message.payload) {
                Err(error) => Verdict::Never(error),
                Ok(envelope) => self.alone(envelope).await,
            };
            verdicts.push(verdict);
        }
        verdicts
    }

    async fn alone(&self, envelope: Envelope<L::Event>) -> Verdict {
        match self.call(vec![envelope]).await {
            Err(error) => Verdict::Later(error),
            Ok(verdicts) => verdicts
                .into_iter()
                .next()
                .unwrap_or_else(|| Verdict::Later(anyhow!("the listener gave no answer"))),
        }
    }

    async fn call(&self, envelopes: Vec<Envelope<L::Event>>) -> anyhow::Result<Vec<Verdict>> {
        let (count, limit) = (envelopes.len(), self.runner.options.handle_timeout);
        let work = AssertUnwindSafe(self.listener.handle_batch(envelopes)).catch_unwind();
        let answers = tokio::time::timeout(limit, work)
            .await
            .map_err(|_| anyhow!("it took longer than {} s", limit.as_secs()))?
            .map_err(panicked)?;
        anyhow::ensure!(answers.len() == count, "{} answers for {count} events", answers.len());
        Ok(answers.into_iter().map(Verdict::of).collect())
    }

    /// Tries the parked events somebody asked for; says nothing when there are none.
    async fn replay(&self) -> Option<Health> {
        let (db, name) = (&self.runner.db, self.runner.consumer.durable);
        let Ok(parked) = inbox::replays(db, name).await else { return Some(Health::Down) };
        let mut health = None;
        for kept in parked {
            let decoded = decode(self.runner.consumer, &kept.subject, kept.envelope.as_bytes());
            let verdict = match decoded {
                Err(error) => Verdict::Never(error),
                Ok(envelope) => match self.alone(envelope).await {
                    Verdict::Done => self.forget(&kept).await,
                    refused => refused,
                },
            };
            health = Some(self.runner.settle_replay(&kept, verdict).await);
            if health == Some(Health::Down) {
                break;
            }
        }
        health
    }

    /// Removes a parked row whose effect is committed; after a crash in between the inbox drops the second try.
    async fn forget(&self, kept: &inbox::Kept) -> Verdict {
        let removed = async {
            let mut tx = self.runner.db.begin(kept.tenant).await?;
            inbox::unpark(&mut tx, self.runner.consumer.durable, kept.id).await?;
            tx.commit().await
        };
        removed.await.map_or_else(Verdict::failed, |()| Verdict::Done)
    }
}
