//! Runs a [`Listener`]: events concurrently, each in a transaction of its own.

use std::{panic::AssertUnwindSafe, sync::Arc};

use anyhow::anyhow;
use async_nats::jetstream::{AckKind, Message};
use dbutil::{Db, TenantTx};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use shared_models::events::Envelope;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{
    Health, ListenOptions, PROGRESS, Runner, Verdict,
    decode::{decode, keep},
    gate::Gate,
    log_unsent, panicked,
    pull::Puller,
};
use crate::{Bus, Listener, inbox, inbox::Kept, trace};

/// Runs a listener until the token is cancelled; what is under way is finished. Fails only when its consumer does
/// not exist.
pub async fn listen<L: Listener>(
    db: Db,
    bus: Bus,
    listener: Arc<L>,
    token: CancellationToken,
) -> anyhow::Result<()> {
    listen_with(db, bus, listener, ListenOptions::default(), token).await
}

/// [`listen`], otherwise.
pub async fn listen_with<L: Listener>(
    db: Db,
    bus: Bus,
    listener: Arc<L>,
    options: ListenOptions,
    token: CancellationToken,
) -> anyhow::Result<()> {
    let runner = Runner { db, bus, consumer: L::CONSUMER, options };
    let Some(durable) = runner.durable(&token).await? else { return Ok(()) };
    let one = Arc::new(One { runner: runner.clone(), listener });
    let mut puller = Puller::new(&runner, durable);
    let mut connects = runner.bus.connects();
    let mut replays = interval(runner.options.replay_poll);
    replays.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut gate = Gate::new(&runner.options);
    let mut flying: FuturesUnordered<BoxFuture<'static, Health>> = FuturesUnordered::new();
    // At most one: another would find the same events, and wait for each with a connection of its own.
    let mut replaying: FuturesUnordered<BoxFuture<'static, Option<Health>>> =
        FuturesUnordered::new();

    while !token.is_cancelled() {
        let free = gate.limit(runner.consumer.concurrency).saturating_sub(flying.len());
        if free > 0 {
            puller.ask(free).await;
        }
        tokio::select! {
            () = token.cancelled() => {}
            Some(health) = flying.next() => gate.note(health),
            Some(health) = replaying.next() => if let Some(health) = health {
                gate.note(health);
            },
            next = puller.next(), if free > 0 || puller.is_open() => match next {
                Some(message) if free > 0 => flying.push(one.clone().deliver(message).boxed()),
                Some(message) => runner.give_back(&message, gate.left()).await,
                None => {}
            },
            // The server has forgotten the pull.
            Ok(()) = connects.changed() => puller.close().await,
            _ = replays.tick(), if free > 0 && replaying.is_empty() => {
                replaying.push(one.clone().replay().boxed());
            }
            () = gate.reopen(&runner.db), if gate.is_closed() => {}
        }
    }
    puller.close().await;
    while flying.next().await.is_some() {}
    while replaying.next().await.is_some() {}
    Ok(())
}

struct One<L> {
    runner: Runner,
    listener: Arc<L>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Stream,
    Parked,
}

impl<L: Listener> One<L> {
    async fn deliver(self: Arc<Self>, message: Message) -> Health {
        let decoded = decode(self.runner.consumer, &message.subject, &message.payload);
        let verdict = match decoded {
            Err(error) => Verdict::Never(error),
            Ok(envelope) => with_progress(&message, self.attempt(&envelope, From::Stream)).await,
        };
        self.runner.settle(&message, &keep(&message), verdict).await
    }

    /// Tries the parked events somebody asked for; says nothing when there are none.
    async fn replay(self: Arc<Self>) -> Option<Health> {
        let Ok(parked) = inbox::replays(&self.runner.db, self.runner.consumer.durable).await else {
            return Some(Health::Down);
        };
        let mut health = None;
        for kept in parked {
            health = Some(self.replay_one(&kept).await);
            if health == Some(Health::Down) {
                break;
            }
        }
        health
    }

    async fn replay_one(&self, kept: &Kept) -> Health {
        let decoded = decode(self.runner.consumer, &kept.subject, kept.envelope.as_bytes());
        let verdict = match decoded {
            Err(error) => Verdict::Never(error),
            Ok(envelope) => self.attempt(&envelope, From::Parked).await,
        };
        self.runner.settle_replay(kept, verdict).await
    }

    /// Inbox row, effect and commit, within the trace of what caused the event.
    async fn attempt(&self, envelope: &Envelope<L::Event>, from: From) -> Verdict {
        let work = self.take(envelope, from).instrument(self.runner.span(envelope));
        trace::within_trace(envelope.traceparent.as_deref(), work).await
    }

    async fn take(&self, envelope: &Envelope<L::Event>, from: From) -> Verdict {
        let mut tx = match self.runner.db.begin(envelope.tenant).await {
            Ok(tx) => tx,
            Err(error) => return Verdict::Down(error.into()),
        };
        let name = self.runner.consumer.durable;
        if from == From::Parked {
            match inbox::unpark(&mut tx, name, envelope.id).await {
                Ok(true) => {}
                Ok(false) => return Verdict::Known,
                Err(error) => return Verdict::failed(error),
            }
        }
        match inbox::remember(&mut tx, name, envelope.id).await {
            Ok(true) => {}
            // Commits the removal of a parked row, if that is where it came from.
            Ok(false) => return commit(tx, Verdict::Known).await,
            Err(error) => return Verdict::failed(error),
        }
        match self.handle(&mut tx, envelope).await {
            Verdict::Done => commit(tx, Verdict::Done).await,
            refused => refused,
        }
    }

    async fn handle(&self, tx: &mut TenantTx, envelope: &Envelope<L::Event>) -> Verdict {
        let limit = self.runner.options.handle_timeout;
        let work = AssertUnwindSafe(self.listener.handle(tx, envelope)).catch_unwind();
        match tokio::time::timeout(limit, work).await {
            Ok(Ok(answer)) => Verdict::of(answer),
            Ok(Err(panic)) => Verdict::Later(panicked(panic)),
            Err(_) => Verdict::Later(anyhow!("it took longer than {} s", limit.as_secs())),
        }
    }
}

async fn commit(tx: TenantTx, verdict: Verdict) -> Verdict {
    match tx.commit().await {
        Ok(()) => verdict,
        Err(error) => Verdict::failed(error),
    }
}

/// Tells the broker now and then that the event is being worked on.
async fn with_progress<T>(message: &Message, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(PROGRESS) => {
                log_unsent(message.ack_with(AckKind::Progress).await);
            }
        }
    }
}
