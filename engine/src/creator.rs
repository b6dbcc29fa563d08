//! Grouped creation of runs: whatever is waiting goes into one statement and one commit, over all tenants.
//!
//! A run whose tenant has room and nothing in the queue is this worker's from its first commit on: it begins with what is
//! at hand, without being claimed and read back.
//!
//! Invariant: the answer comes after the commit. A snapshot that is out of date makes nothing: whoever asked looks again.

mod group;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use agentcore::Message;
use chrono::{DateTime, Utc};
use dbutil::Seat;
use pubsub::OutboxRow;
use servicekit::Lifecycle;
use shared_models::{MessageId, RunMode, TenantId};
use tokio::sync::{mpsc, oneshot};

use crate::app::App;
use crate::catalogue::Pinned;
use crate::create::NewRun;
use crate::drive::Fresh;
use crate::store::queue::Claimed;
use crate::workers::claims;

/// Something to be made with the next group.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) tenant: TenantId,
    /// What was decided by; when the tenant's revision is another one now, nothing is made.
    pub(crate) revision: i64,
    /// The event that asks for it: it is taken in the same commit, and only once.
    pub(crate) heard: Option<MessageId>,
    pub(crate) run: Option<New>,
    /// Told to the other services when the order is carried out.
    pub(crate) events: Vec<OutboxRow>,
}

/// A run to be made.
#[derive(Debug)]
pub(crate) struct New {
    pub(crate) run: NewRun,
    pub(crate) pinned: Arc<Pinned>,
    pub(crate) deadline: Duration,
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    Run {
        at: DateTime<Utc>,
        deadline_at: DateTime<Utc>,
        /// Whether this process has begun with it.
        ours: bool,
    },
    /// Nothing new: the event had been taken, the run existed, or none was ordered.
    Nothing,
    /// Agents or tools of the tenant have changed since the snapshot was read.
    Stale,
}

/// Why an order was not carried out.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum CreateError {
    /// Too many are waiting.
    #[error("too many runs are being started")]
    Busy,
    /// The database refuses this very order.
    #[error("the database refused the run: {0}")]
    Refused(String),
    /// Whether it happened is not known.
    #[error("the database is not available: {0}")]
    Unavailable(String),
}

pub(crate) type Answer = Result<Made, CreateError>;

struct Job {
    order: Order,
    done: oneshot::Sender<Answer>,
}

/// Where orders are left. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Creator(mpsc::Sender<Job>);

/// Orders that [`run`] takes.
pub(crate) struct Orders(mpsc::Receiver<Job>);

/// Orders that go into one statement at most; more gains nothing.
const GROUP: usize = 256;
/// What one statement carries at most, in bytes of input, unless a single order is larger.
const LARGEST: usize = 32 * 1024 * 1024;
/// Orders that wait before new ones are refused.
const QUEUE: usize = 4096;

impl Creator {
    pub(crate) fn new() -> (Self, Orders) {
        let (sender, queue) = mpsc::channel(QUEUE);
        (Self(sender), Orders(queue))
    }

    /// Leaves an order; a full queue refuses at once. The order is carried out whether or not anybody waits for it.
    pub(crate) async fn make(&self, order: Order) -> Answer {
        let (done, answer) = oneshot::channel();
        self.0.try_send(Job { order, done }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CreateError::Busy,
            mpsc::error::TrySendError::Closed(_) => ended(),
        })?;
        answer.await.map_err(|_| ended())?
    }
}

fn ended() -> CreateError {
    CreateError::Unavailable("the process stops".into())
}

/// Carries orders out until the process stops and nobody can leave one any more.
pub(crate) async fn run(app: App, orders: Orders, life: Lifecycle) -> anyhow::Result<()> {
    let Orders(mut queue) = orders;
    let mut seat = Seat::new("engine", "engine creator", &app.db_config)?.hashing();
    let mut jobs = Vec::with_capacity(GROUP);
    loop {
        let taken = tokio::select! {
            biased;
            taken = queue.recv_many(&mut jobs, GROUP) => taken,
            () = app.drained() => 0,
        };
        if taken == 0 {
            return Ok(());
        }
        metrics::histogram!("engine_create_group_size").record(taken as f64);
        let mut groups = apart(std::mem::take(&mut jobs));
        while let Some(mut group) = groups.pop() {
            match group::commit(&app, &mut seat, &group).await {
                Ok(rows) => settle(&app, &life, group, rows).await,
                Err(CreateError::Refused(_)) if group.len() > 1 => {
                    let half = group.split_off(group.len() / 2);
                    groups.extend([half, group]);
                }
                Err(error) => {
                    tracing::warn!(%error, runs = group.len(), "runs were not made");
                    for job in group {
                        let _ = job.done.send(Err(error.clone()));
                    }
                }
            }
        }
    }
}

/// Splits what was waiting so that no run and no event is in a group twice and no statement is too large, the last group
/// first.
fn apart(jobs: Vec<Job>) -> Vec<Vec<Job>> {
    let mut groups: Vec<(HashSet<uuid::Uuid>, Vec<Job>)> = vec![Default::default()];
    let mut bytes = 0;
    for job in jobs {
        let ids: Vec<_> = [
            job.order.run.as_ref().map(|new| new.run.run.uuid()),
            job.order.heard.map(MessageId::uuid),
        ]
        .into_iter()
        .flatten()
        .collect();
        let size = job.order.run.as_ref().map_or(0, |new| weight(&new.run.input));
        let known = groups.last().is_some_and(|(seen, _)| ids.iter().any(|id| seen.contains(id)));
        bytes += size;
        if known || bytes > LARGEST {
            groups.push(Default::default());
            bytes = size;
        }
        if let Some((seen, group)) = groups.last_mut() {
            seen.extend(ids);
            group.push(job);
        }
    }
    groups.into_iter().rev().map(|(_, jobs)| jobs).collect()
}

fn weight(input: &Message) -> usize {
    match input {
        Message::User { content } => content.size(),
        _ => 0,
    }
}

/// Begins with the runs that are ours, rings for those that are not, and answers.
async fn settle(app: &App, life: &Lifecycle, group: Vec<Job>, rows: Vec<group::Row>) {
    let mut rows: Vec<Option<group::Row>> = group::in_order(rows, group.len());
    let (mut queued, mut events) = (false, Vec::new());
    for (job, row) in group.into_iter().zip(rows.iter_mut()) {
        let row = row.take();
        if let Some(group::Row { told: true, at, .. }) = &row {
            events.extend(job.order.events.into_iter().map(|event| event.at(*at)));
        }
        let made = match row {
            None => Made::Stale,
            Some(group::Row { made: true, ours, at, deadline_at: Some(deadline_at), .. }) => {
                Made::Run { at, deadline_at, ours }
            }
            Some(_) => Made::Nothing,
        };
        if let (Made::Run { ours, .. }, Some(new)) = (made, job.order.run) {
            queued |= !ours;
            if ours {
                begin(app, life, job.order.tenant, new);
            }
        }
        // Nobody listens when the request's task is gone; the run stands all the same.
        let _ = job.done.send(Ok(made));
    }
    app.relay.take(events);
    if queued {
        app.bell.ring().await;
    }
}

/// The run as it would be claimed and read back.
fn begin(app: &App, life: &Lifecycle, tenant: TenantId, new: New) {
    let New { run, pinned, deadline } = new;
    let claimed = Claimed {
        run: run.run,
        tenant,
        root: run.run,
        agent: pinned.agent_id,
        user: run.initiator.unwrap_or(run.principal),
        trigger: run.firing.map(|firing| firing.trigger),
        event: run.firing.map(|firing| firing.event),
        attempt: run.firing.map_or(0, |firing| firing.attempt),
        mode: RunMode::Live.as_str().to_owned(),
        evaluation: run.evaluation,
        epoch: 1,
        next_seq: group::RECORDS + 1,
        traceparent: run.traceparent,
        claims: 1,
        deadline_ms: deadline.as_millis() as i64,
        queued_ms: 0,
    };
    let input: Message = run.input;
    claims::begin(app, life, claimed, Some(Fresh { pinned, input }));
}
