//! From the outbox to the stream.
//!
//! One relay runs in each replica of a service. Committed rows come to it in memory ([`RelayHandle::take`]) or are claimed
//! from the table when the bell rings and once a second, which picks up what a crash left. A row is marked published
//! only after the broker's acknowledgement; while NATS is away rows just stay.

mod publish;
mod rollback;
mod store;
mod tidy;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use dbutil::Db;
use shared_models::MessageId;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Bus, BusError, OutboxRow,
    topology::{StreamSpec, stream_of},
};
use publish::{Ack, Published, ToSend};
pub use rollback::{republish, republish_lost};

/// Batches that may wait in memory; what does not fit is found in the table.
const TAKEN: usize = 1_024;
/// And so many bytes of events in them.
const TAKEN_BYTES: usize = 32 * 1024 * 1024;
/// How long a row the broker refuses is left alone, so that it does not hold up the others.
const REFUSED_FOR: Duration = Duration::from_secs(60);
/// How often what was published from memory is marked in the table, unless a batch is full before.
const MARK_EVERY: Duration = Duration::from_millis(100);
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

/// How a relay works.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// How often the table is looked at although no bell rang.
    pub poll: Duration,
    /// How often it is looked whether the broker has lost something.
    pub check: Duration,
    /// Rows published together.
    pub batch: usize,
    /// How long published rows are kept at least, so that they can be published again; never less than until every
    /// hearer has acknowledged them.
    pub keep: Duration,
    /// Days for which messages are remembered that were taken; longer than a stream keeps them.
    pub inbox_days: u32,
    /// Days after which a parked event is given up, unless somebody asked for its replay.
    pub parked_days: u32,
    /// How often old rows are looked for.
    pub tidy: Duration,
    /// The longest wait after a failure.
    pub max_backoff: Duration,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(1),
            check: Duration::from_secs(10),
            batch: 512,
            keep: Duration::from_secs(24 * 60 * 60),
            inbox_days: 30,
            parked_days: 90,
            tidy: Duration::from_secs(60),
            max_backoff: Duration::from_secs(5),
        }
    }
}

/// Publishes a service's outbox; run it with [`Relay::run`].
pub struct Relay {
    db: Db,
    bus: Bus,
    config: RelayConfig,
    stream: &'static StreamSpec,
    bell: Arc<Notify>,
    taken: mpsc::Receiver<Vec<OutboxRow>>,
    held: Arc<AtomicUsize>,
    refused: HashMap<MessageId, Instant>,
    /// Published from memory, and not yet marked so in the table.
    unmarked: Vec<Ack>,
    /// The highest sequence this service is known to have been given; a lower one for something new means that
    /// the broker's store was rolled back.
    high: i64,
}

/// Tells the relay that there is something to publish. Cheap to clone and to use.
#[derive(Clone)]
pub struct RelayHandle {
    bell: Arc<Notify>,
    taken: mpsc::Sender<Vec<OutboxRow>>,
    /// Bytes that wait in `taken`.
    held: Arc<AtomicUsize>,
}

impl RelayHandle {
    /// Says that rows were committed.
    pub fn ring(&self) {
        self.bell.notify_one();
    }

    /// Hands over rows that were just committed, which spares reading them back. Never waits.
    pub fn take(&self, rows: Vec<OutboxRow>) {
        if rows.is_empty() {
            return;
        }
        let bytes = weight(&rows);
        let held = self.held.fetch_add(bytes, Ordering::Relaxed);
        if held + bytes > TAKEN_BYTES || self.taken.try_send(rows).is_err() {
            self.held.fetch_sub(bytes, Ordering::Relaxed);
            self.ring();
        }
    }
}

fn weight(rows: &[OutboxRow]) -> usize {
    rows.iter().map(|row| row.envelope.len()).sum()
}

/// Why nothing could be published right now.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("database: {0}")]
    Db(#[from] sqlx::Error),
    #[error(transparent)]
    Bus(#[from] BusError),
}

enum Wake {
    Taken(Vec<OutboxRow>),
    Mark,
    Claim,
    Check,
}

impl Relay {
    /// A relay of the service `bus` is connected as.
    pub fn new(db: Db, bus: Bus, config: RelayConfig) -> (Self, RelayHandle) {
        let (sender, taken) = mpsc::channel(TAKEN);
        let bell = Arc::new(Notify::new());
        let held = Arc::new(AtomicUsize::new(0));
        let handle = RelayHandle { bell: bell.clone(), taken: sender, held: held.clone() };
        let stream = stream_of(bus.service());
        (
            Self {
                db,
                bus,
                config,
                stream,
                bell,
                taken,
                held,
                refused: HashMap::new(),
                unmarked: Vec::new(),
                high: 0,
            },
            handle,
        )
    }

    /// Publishes until the token is cancelled, then once more what is left. Forgets old rows meanwhile.
    pub async fn run(self, token: CancellationToken) {
        let (db, bus) = (self.db.clone(), self.bus.clone());
        let tidying = tidy::run(db, bus, (self.stream, self.config.clone()), token.clone());
        tokio::join!(self.publish_until(token), tidying);
    }

    async fn publish_until(mut self, token: CancellationToken) {
        let mut poll = interval(self.config.poll);
        let mut check = interval(self.config.check);
        let mut marks = interval(MARK_EVERY);
        marks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failures = 0_u32;
        loop {
            let wake = tokio::select! {
                () = token.cancelled() => break,
                Some(rows) = self.taken.recv() => Wake::Taken(rows),
                () = self.bell.notified() => Wake::Claim,
                _ = marks.tick(), if !self.unmarked.is_empty() => Wake::Mark,
                _ = poll.tick() => Wake::Claim,
                _ = check.tick() => Wake::Check,
            };
            match self.work(wake).await {
                Ok(()) => failures = 0,
                Err(trouble) => {
                    failures += 1;
                    self.back_off(failures, &trouble, &token).await;
                }
            }
        }
        if let Err(trouble) = self.finish().await {
            tracing::info!(%trouble, "events stay in the outbox until the next start");
        }
    }

    async fn work(&mut self, wake: Wake) -> Result<(), Trouble> {
        match wake {
            Wake::Taken(rows) => self.publish_taken(rows).await,
            Wake::Mark => self.mark_taken().await,
            Wake::Claim => {
                self.mark_taken().await?;
                self.high = self.high.max(store::highest(&self.db, self.stream).await?);
                while self.publish_claimed().await? == self.config.batch {}
                Ok(())
            }
            Wake::Check => {
                let lost = rollback::look(&self.db, &self.bus, self.stream).await?;
                if lost.rolled_back > 0 {
                    self.high = lost.last;
                }
                if lost.rolled_back + lost.dropped > 0 {
                    self.bell.notify_one();
                }
                store::measure(&self.db).await?;
                Ok(())
            }
        }
    }

    async fn publish_taken(&mut self, rows: Vec<OutboxRow>) -> Result<(), Trouble> {
        self.let_go(&rows);
        let mut sending: Vec<ToSend> = rows.into_iter().map(ToSend::from).collect();
        while sending.len() < self.config.batch {
            let Ok(more) = self.taken.try_recv() else { break };
            self.let_go(&more);
            sending.extend(more.into_iter().map(ToSend::from));
        }
        let mut published = publish::publish(&self.bus, &sending).await;
        self.count(published.acks.len());
        self.unmarked.append(&mut published.acks);
        self.settle(published)?;
        if self.unmarked.len() >= self.config.batch { self.mark_taken().await } else { Ok(()) }
    }

    /// These rows no longer wait in memory.
    fn let_go(&self, rows: &[OutboxRow]) {
        self.held.fetch_sub(weight(rows), Ordering::Relaxed);
    }

    /// Marks what was published from memory, many batches at once: a crash before that only means that they are published
    /// again.
    async fn mark_taken(&mut self) -> Result<(), Trouble> {
        if self.unmarked.is_empty() {
            return Ok(());
        }
        let acks = std::mem::take(&mut self.unmarked);
        let mut tx = self.db.system("mark published events").await?;
        self.mark(&mut tx, &acks).await?;
        Ok(tx.commit().await?)
    }

    /// Publishes rows nobody else has locked; says how many there were.
    async fn publish_claimed(&mut self) -> Result<usize, Trouble> {
        self.refused.retain(|_, until| *until > Instant::now());
        let aside: Vec<MessageId> = self.refused.keys().copied().collect();
        if !self.bus.is_connected() {
            return Err(BusError::Unavailable("not connected".into()).into());
        }
        let mut tx = self.db.system("publish events").await?;
        let rows = store::claim(&mut tx, self.config.batch, &aside).await?;
        if rows.is_empty() {
            return Ok(0);
        }
        // The locks are held meanwhile, so that replicas share the work; the acknowledgements have a time limit.
        let published = publish::publish(&self.bus, &rows).await;
        self.mark(&mut tx, &published.acks).await?;
        tx.commit().await?;
        self.count(published.acks.len());
        self.settle(published)?;
        Ok(rows.len())
    }

    async fn mark(&mut self, tx: &mut dbutil::SystemTx, acks: &[Ack]) -> Result<(), sqlx::Error> {
        store::mark(tx, acks).await?;
        let fresh = acks.iter().filter(|ack| !ack.duplicate).map(|ack| ack.sequence);
        let (lowest, highest) = (fresh.clone().min(), fresh.max());
        if let Some(lowest) = lowest.filter(|lowest| *lowest <= self.high) {
            rollback::unpublish_overtaken(tx, self.stream, lowest, acks).await?;
            self.high = highest.unwrap_or_default();
            self.bell.notify_one();
        }
        self.high = self.high.max(highest.unwrap_or_default());
        Ok(())
    }

    fn count(&self, published: usize) {
        let stream = self.stream.stream.name();
        metrics::counter!("pubsub_published_total", "stream" => stream).increment(published as u64);
    }

    /// Sets refused rows aside and passes on that the bus was down.
    fn settle(&mut self, published: Published) -> Result<(), Trouble> {
        for (id, error) in published.refused {
            tracing::error!(message.id = %id, %error, "NATS refuses an event; it stays in the outbox");
            self.refused.insert(id, Instant::now() + REFUSED_FOR);
        }
        published.down.map_or(Ok(()), |reason| Err(BusError::Unavailable(reason).into()))
    }

    async fn back_off(&mut self, failures: u32, trouble: &Trouble, token: &CancellationToken) {
        if failures == 1 {
            tracing::warn!(%trouble, "cannot publish; events wait in the outbox");
        }
        let wait = FIRST_BACKOFF * 2_u32.saturating_pow(failures.min(10));
        tokio::select! {
            () = tokio::time::sleep(wait.min(self.config.max_backoff)) => {}
            () = token.cancelled() => {}
        }
        // What came meanwhile is in the table as well; memory is not the place to keep it.
        while let Ok(rows) = self.taken.try_recv() {
            self.let_go(&rows);
        }
        self.bell.notify_one();
    }

    async fn finish(&mut self) -> Result<(), Trouble> {
        if let Ok(rows) = self.taken.try_recv() {
            self.publish_taken(rows).await?;
        }
        self.mark_taken().await?;
        self.publish_claimed().await.map(drop)
    }
}
