//! The group committer: one task that stores whatever is waiting, in one statement, on a connection of its own.
//!
//! It lives outside the handlers, so a client that hangs up cancels nothing that is on its way. The queue is bounded by
//! number and by size; full means an answer at once. A group that Postgres refuses is halved until the row at fault
//! stands alone.

use std::{collections::HashSet, sync::Arc, time::Duration};

use dbutil::{is_refused, within};
use pubsub::{OutboxRow, RelayHandle};
use shared_models::{DeliveryId, TenantId};
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::Received;
use crate::{
    clock::Clock,
    stats::{Counted, Stats},
    store::group,
};

/// The most deliveries stored by one statement.
const GROUP: usize = 256;
/// Permits are kibibytes of waiting deliveries.
const PERMIT: usize = 1024;
/// What takes longer than this was lost on its way to the database.
const LIMIT: Duration = Duration::from_secs(10);
/// How long a stopping committer waits for handlers that are still at work.
const LAST_CALL: Duration = Duration::from_millis(500);

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Committed.
    Stored,
    /// It was here before.
    Duplicate,
    /// Postgres refuses this one.
    Unstorable(String),
    /// The queue is full or the database is away; nothing is known to be stored.
    Busy,
}

/// The handlers' end of the queue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Committer {
    queue: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
}

#[derive(Debug)]
struct Waiting {
    received: Received,
    reply: oneshot::Sender<Outcome>,
    _room: OwnedSemaphorePermit,
}

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Deliveries.
    pub deliveries: usize,
    /// Bytes of them.
    pub bytes: usize,
}

impl Committer {
    /// A queue, and the task that empties it.
    pub fn new(
        options: &PgConnectOptions,
        limits: Limits,
        relay: RelayHandle,
        clock: Clock,
        stats: Stats,
    ) -> (Self, Task) {
        let (queue, waiting) = mpsc::channel(limits.deliveries);
        let room = Arc::new(Semaphore::new(limits.bytes / PERMIT));
        // On fresh tables the planner would join the arrays by scanning; see the measurements in the README.
        let options = options.clone().application_name("eventsvc-committer").options([
            ("enable_seqscan", "off"),
            ("jit", "off"),
            ("plan_cache_mode", "force_generic_plan"),
        ]);
        (Self { queue, room }, Task { waiting, relay, clock, stats, line: Line::new(options) })
    }

    /// Hands a delivery over and waits for its commit. Dropping the future loses only the answer.
    pub async fn submit(&self, received: Received) -> Outcome {
        let permits = u32::try_from(received.weight() / PERMIT + 1).unwrap_or(u32::MAX);
        let Ok(room) = self.room.clone().try_acquire_many_owned(permits) else {
            return Outcome::Busy;
        };
        let (reply, answer) = oneshot::channel();
        if self.queue.try_send(Waiting { received, reply, _room: room }).is_err() {
            return Outcome::Busy;
        }
        answer.await.unwrap_or(Outcome::Busy)
    }
}

/// The task that stores.
pub struct Task {
    waiting: mpsc::Receiver<Waiting>,
    relay: RelayHandle,
    clock: Clock,
    stats: Stats,
    line: Line,
}

impl Task {
    /// Stores groups until told to stop and nobody hands anything over any more.
    pub async fn run(mut self, soft: CancellationToken) -> anyhow::Result<()> {
        let mut group = Vec::with_capacity(GROUP);
        loop {
            let taken = tokio::select! {
                taken = self.waiting.recv_many(&mut group, GROUP) => taken,
                () = soft.cancelled() => break,
            };
            if taken == 0 {
                return Ok(());
            }
            self.commit(std::mem::take(&mut group)).await;
        }
        while let Ok(1..) =
            tokio::time::timeout(LAST_CALL, self.waiting.recv_many(&mut group, GROUP)).await
        {
            self.commit(std::mem::take(&mut group)).await;
        }
        Ok(())
    }

    async fn commit(&mut self, mut group: Vec<Waiting>) {
        group.sort_by(|a, b| group::order(&a.received).cmp(&group::order(&b.received)));
        metrics::histogram!("eventsvc_group_size").record(group.len() as f64);
        let mut parts = vec![group];
        while let Some(mut part) = parts.pop() {
            let rows: Vec<&Received> = part.iter().map(|waiting| &waiting.received).collect();
            match self.line.insert(&rows, &self.clock).await {
                Ok(new) => self.answer(part, &new),
                Err(error) if !is_refused(&error) => {
                    tracing::warn!(%error, rows = part.len(), "a group of deliveries could not be stored");
                    for waiting in part {
                        reply(waiting, Outcome::Busy);
                    }
                }
                Err(error) if part.len() == 1 => {
                    tracing::warn!(error = code(&error), "a delivery was refused by the database");
                    let why = Outcome::Unstorable(words(&error));
                    for waiting in part {
                        reply(waiting, why.clone());
                    }
                }
                Err(_) => {
                    let half = part.split_off(part.len() / 2);
                    parts.push(half);
                    parts.push(part);
                }
            }
        }
    }

    /// Tells each handler, and the relay what it may publish.
    fn answer(&self, part: Vec<Waiting>, new: &HashSet<DeliveryId>) {
        let mut events: Vec<OutboxRow> = Vec::new();
        for mut waiting in part {
            let received = &mut waiting.received;
            let stored = new.contains(&received.delivery_id);
            for firing in &mut received.firings {
                let status = firing.verdict.status();
                let what = if stored { Counted::Stored(status) } else { Counted::Duplicate };
                self.stats.count(received.tenant_id, firing.trigger_id, what, received.received_at);
                events.extend(firing.outbox.take().filter(|_| stored));
            }
            reply(waiting, if stored { Outcome::Stored } else { Outcome::Duplicate });
        }
        if !events.is_empty() {
            self.relay.take(events);
        }
    }
}

fn reply(waiting: Waiting, outcome: Outcome) {
    // The client may have hung up; what is stored is stored.
    let _ = waiting.reply.send(outcome);
}

/// The committer's own connection.
#[derive(Debug)]
struct Line {
    options: PgConnectOptions,
    open: Option<(PgConnection, Vec<TenantId>)>,
}

impl Line {
    fn new(options: PgConnectOptions) -> Self {
        Self { options, open: None }
    }

    /// Stores rows, once more on a new connection when the old one broke. What an unanswered commit did store is not
    /// taken for a repetition.
    async fn insert(
        &mut self,
        rows: &[&Received],
        clock: &Clock,
    ) -> Result<HashSet<DeliveryId>, sqlx::Error> {
        let mut unanswered = false;
        loop {
            match within(LIMIT, self.try_insert(rows, clock, unanswered)).await {
                Err(error) if !is_refused(&error) => {
                    self.open = None;
                    if unanswered {
                        return Err(error);
                    }
                    unanswered = true;
                }
                done => return done,
            }
        }
    }

    async fn try_insert(
        &mut self,
        rows: &[&Received],
        clock: &Clock,
        unanswered: bool,
    ) -> Result<HashSet<DeliveryId>, sqlx::Error> {
        let mut tenants: Vec<TenantId> = rows.iter().map(|row| row.tenant_id).collect();
        tenants.dedup();
        let connection = self.ready(&tenants).await?;
        let asked = Clock::host();
        let stored = group::insert(connection, rows).await?;
        if let Some(now) = stored.now {
            clock.learn(asked, now);
        }
        let mut new = stored.new;
        if unanswered && new.len() < rows.len() {
            let ids: Vec<DeliveryId> = rows.iter().map(|row| row.delivery_id).collect();
            new.extend(group::stored(connection, &tenants, &ids).await?);
        }
        Ok(new)
    }

    /// The connection, seeing exactly these tenants. The setting is sent only when it changes.
    async fn ready(&mut self, tenants: &[TenantId]) -> Result<&mut PgConnection, sqlx::Error> {
        let (mut connection, seeing) = match self.open.take() {
            Some(open) => open,
            None => (PgConnection::connect_with(&self.options).await?, Vec::new()),
        };
        if seeing != tenants {
            group::set_tenants(&mut connection, tenants).await?;
        }
        let (connection, _) = self.open.insert((connection, tenants.to_vec()));
        Ok(connection)
    }
}

fn code(error: &sqlx::Error) -> String {
    error.as_database_error().and_then(|error| error.code().map(Into::into)).unwrap_or_default()
}

/// The kind of refusal; the message itself may quote what was received.
fn words(error: &sqlx::Error) -> String {
    match code(error).as_str() {
        "22P05" | "22021" => "a character that text cannot hold, such as NUL".into(),
        other => format!("refused by the database ({other})"),
    }
}
