//! Grouped commits of journals: whatever is waiting goes into one statement and one commit.
//!
//! Runs are spread over shards; each shard has one task, one connection and one group in flight, so the records of a run
//! appear in order. Within a group every run stands for itself: one whose epoch is stale is refused alone, and a group
//! that the database refuses is halved until the bad row stands alone.
//!
//! Invariant: the answer comes after the commit, and an append whose commit's answer was lost is not refused because
//! its own first attempt had succeeded.

mod append;
mod group;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use dbutil::{DbConfig, Seat};
use pubsub::{OutboxRow, RelayHandle};
use servicekit::Lifecycle;
use shared_models::RunId;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub(crate) use append::{Append, Change, EffectChange, Noted, Spent, printable, printable_json};

use crate::config::RunConfig;

/// Why an append did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AppendError {
    /// Somebody else owns the run now.
    #[error("the run belongs to another worker now")]
    Fenced,
    /// The database refuses this very append.
    #[error("the database refused the record: {0}")]
    Rejected(String),
    /// The database cannot be reached; whether the append happened is not known.
    #[error("the database is not available: {0}")]
    Unavailable(String),
}

/// When an append became durable, by the database's clock.
pub(crate) type Committed = Result<DateTime<Utc>, AppendError>;

struct Job {
    append: Arc<Append>,
    done: oneshot::Sender<Committed>,
}

/// The way to the journal. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Committer {
    shards: Vec<mpsc::Sender<Job>>,
    closing: CancellationToken,
}

/// How committers are told apart where they count what is used.
const SLOTS: usize = 64;

/// Appends that go into one statement at most; more gains nothing.
const GROUP: usize = 256;

impl Committer {
    /// Starts the shards.
    pub(crate) fn start(
        db: &DbConfig,
        config: &RunConfig,
        relay: RelayHandle,
        life: &Lifecycle,
    ) -> Result<Self, sqlx::Error> {
        let closing = CancellationToken::new();
        let mut shards = Vec::with_capacity(config.journal_shards);
        // Processes that draw the same slots wait for each other now and then; nothing worse.
        let first: usize = rand::random_range(0..SLOTS);
        for shard in 0..config.journal_shards {
            let (sender, queue) = mpsc::channel(config.journal_queue);
            shards.push(sender);
            let seat = Seat::new("engine", "engine journal", db)?.hashing();
            let slot = ((first + shard) % SLOTS) as i16;
            life.spawn("journal", serve((seat, slot), queue, relay.clone(), closing.clone()));
        }
        Ok(Self { shards, closing })
    }

    /// Waits for a place in the queue of the run's shard.
    pub(crate) async fn reserve(&self, run: RunId) -> Result<Place<'_>, AppendError> {
        let closed = || AppendError::Unavailable("the committer has ended".into());
        let shard = self.shard(run).ok_or_else(closed)?;
        shard.reserve().await.map(Place).map_err(|_| closed())
    }

    /// Ends the shards once what was handed over is committed.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    fn shard(&self, run: RunId) -> Option<&mpsc::Sender<Job>> {
        // The end of a UUID is random, whatever its version.
        let random = run.uuid().as_u128() as usize;
        self.shards.get(random % self.shards.len())
    }
}

/// A place in the queue.
pub(crate) struct Place<'a>(mpsc::Permit<'a, Job>);

impl Place<'_> {
    /// Hands over an append; the receiver gets the answer after the commit. The append happens whether or not anybody
    /// waits for it.
    pub(crate) fn submit(self, append: Arc<Append>) -> oneshot::Receiver<Committed> {
        let (done, answer) = oneshot::channel();
        self.0.send(Job { append, done });
        answer
    }
}

async fn serve(
    (mut seat, slot): (Seat, i16),
    mut queue: mpsc::Receiver<Job>,
    relay: RelayHandle,
    closing: CancellationToken,
) -> anyhow::Result<()> {
    let mut jobs = Vec::with_capacity(GROUP);
    loop {
        tokio::select! {
            biased;
            taken = queue.recv_many(&mut jobs, GROUP) => {
                if taken == 0 {
                    return Ok(());
                }
            }
            () = closing.cancelled() => return Ok(()),
        }
        metrics::histogram!("engine_journal_group_size").record(jobs.len() as f64);
        relay.take(commit(&mut seat, slot, std::mem::take(&mut jobs)).await);
    }
}

/// What one statement carries at most, unless a single append is larger.
const LARGEST: usize = 32 * 1024 * 1024;

/// Splits what was waiting, the last group first. Each run is in a group at most once: rows are matched with answers by
/// their run, and an owner of old must not pass for the present one.
fn groups(jobs: Vec<Job>) -> Vec<Vec<Job>> {
    let mut groups: Vec<Vec<Job>> = Vec::new();
    let (mut runs, mut bytes) = (HashSet::new(), 0);
    for job in jobs {
        let size = job.append.size();
        let fits = bytes + size <= LARGEST && runs.insert(job.append.run);
        if let Some(group) = groups.last_mut().filter(|_| fits) {
            bytes += size;
            group.push(job);
        } else {
            (runs, bytes) = (HashSet::from([job.append.run]), size);
            groups.push(vec![job]);
        }
    }
    groups.reverse();
    groups
}

/// Commits groups, whatever it takes: connections are made anew, bad rows are found by halving. Gives the events that are
/// now to be published.
async fn commit(seat: &mut Seat, slot: i16, jobs: Vec<Job>) -> Vec<OutboxRow> {
    let mut groups = groups(jobs);
    let mut events = Vec::new();
    while let Some(mut jobs) = groups.pop() {
        match commit_patiently(seat, slot, &jobs).await {
            Ok(committed) => {
                for job in jobs {
                    let at = committed.get(&job.append.run).copied();
                    if let Some(at) = at {
                        events.extend(job.append.outbox.iter().map(|row| row.clone().at(at)));
                    }
                    answer(job, at.ok_or(AppendError::Fenced));
                }
            }
            Err(group::Failed::Lost(why)) => {
                for job in jobs {
                    answer(job, Err(AppendError::Unavailable(why.clone())));
                }
            }
            Err(group::Failed::Refused(why)) if jobs.len() == 1 => {
                tracing::error!(why, "the database refused a journal record");
                for job in jobs {
                    answer(job, Err(AppendError::Rejected(why.clone())));
                }
            }
            Err(group::Failed::Refused(_)) => {
                let half = jobs.split_off(jobs.len() / 2);
                groups.extend([half, jobs]);
            }
        }
    }
    events
}

/// How long a database that is away is waited for before its appends are given up.
const PATIENCE: Duration = Duration::from_secs(30);

async fn commit_patiently(
    seat: &mut Seat,
    slot: i16,
    jobs: &[Job],
) -> Result<group::Times, group::Failed> {
    let appends: Vec<&Append> = jobs.iter().map(|job| &*job.append).collect();
    let give_up = tokio::time::Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(10);
    let mut committed = group::commit(seat, &appends, slot).await;
    while let Err(group::Failed::Lost(why)) = &committed {
        if tokio::time::Instant::now() >= give_up {
            break;
        }
        tracing::warn!(why, "the journal cannot be written; trying again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
        committed = group::commit_again(seat, &appends, slot).await;
    }
    committed
}

fn answer(Job { append, done }: Job, committed: Committed) {
    // What it held of budgets is free before anybody goes on.
    drop(append);
    // Nobody listens when the run's task is gone; the append stands all the same.
    let _ = done.send(committed);
}

#[cfg(test)]
#[path = "committer_tests.rs"]
mod tests;
