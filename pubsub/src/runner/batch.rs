//! Runs a [`BatchListener`]: whatever is waiting, in one call, with the acknowledgements pipelined.

use std::{panic::AssertUnwindSafe, sync::Arc};

use anyhow::anyhow;
use async_nats::jetstream::{AckKind, Message, consumer::pull::Batch};
use dbutil::Db;
use futures::{FutureExt, StreamExt, future::OptionFuture};
use shared_models::events::Envelope;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    Health, ListenOptions, PULL_EXPIRES, PULL_RETRY, Runner, Verdict,
    decode::{decode, keep},
    gate::Gate,
    log_unsent, panicked,
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
    let mut connects = runner.bus.connects();
    let mut replays = interval(runner.options.replay_poll);
    replays.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut gate = Gate::new(&runner.options);
    let mut pull: Option<Batch> = None;
    let mut pull_after = Instant::now();

    while !token.is_cancelled() {
        let open = gate.closed_until().is_none();
        if pull.is_none() && open && Instant::now() >= pull_after {
            pull_after = Instant::now() + PULL_RETRY;
            if runner.bus.is_connected() {
                // Twice what is handled at once, so that the next batch arrives meanwhile.
                let wanted = gate.limit(2 * runner.consumer.concurrency);
                let batch = durable.batch().max_messages(wanted).expires(PULL_EXPIRES).messages();
                pull = batch.await.ok();
            }
        }
        let health = tokio::select! {
            () = token.cancelled() => None,
            Some(next) = OptionFuture::from(pull.as_mut().map(StreamExt::next)) => match next {
                Some(Ok(first)) => {
                    let messages = waiting(first, pull.as_mut(), runner.consumer.concurrency);
                    Some(many.deliver(messages).await)
                }
                Some(Err(error)) => {
                    tracing::warn!(consumer = %runner, %error, "a pull failed");
                    pull = None;
                    None
                }
                None => {
                    pull = None;
                    pull_after = Instant::now();
                    None
                }
            },
            Ok(()) = connects.changed() => {
                pull = None;
                None
            }
            _ = replays.tick(), if open => Some(many.replay().await),
            () = sleep_until(gate.closed_until().unwrap_or(pull_after)), if !open || pull.is_none() => {
                if !open {
                    gate.open();
                    runner.db.ping().await.err().map(|_| Health::Down)
                } else {
                    None
                }
            }
        };
        if let Some(health) = health {
            gate.note(health);
        }
        if health == Some(Health::Down)
            && let Some(mut pull) = pull.take()
        {
            while let Some(Some(Ok(message))) = pull.next().now_or_never() {
                runner.give_back(&message).await;
            }
        }
    }
    Ok(())
}

/// What has arrived by now; nothing is waited for.
fn waiting(first: Message, pull: Option<&mut Batch>, most: usize) -> Vec<Message> {
    let mut messages = vec![first];
    if let Some(pull) = pull {
        while messages.len() < most {
            let Some(Some(Ok(message))) = pull.next().now_or_never() else { break };
            messages.push(message);
        }
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
            let verdict =
                match decode(self.runner.consumer, &message.subject, &message.payload) {
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

    /// Tries the parked events somebody asked for.
    async fn replay(&self) -> Health {
        let (db, name) = (&self.runner.db, self.runner.consumer.durable);
        let Ok(parked) = inbox::replays(db, name).await else { return Health::Down };
        for kept in parked {
            let decoded = decode(self.runner.consumer, &kept.subject, kept.envelope.as_bytes());
            let verdict = match decoded {
                Err(error) => Verdict::Never(error),
                Ok(envelope) => match self.alone(envelope).await {
                    Verdict::Done => self.forget(&kept).await,
                    refused => refused,
                },
            };
            if self.runner.settle_replay(&kept, verdict).await == Health::Down {
                return Health::Down;
            }
        }
        Health::Fine
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
