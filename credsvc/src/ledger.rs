//! The group committer of the audit: one task that opens and writes down whatever is waiting, in one transaction, on a
//! connection of its own.
//!
//! It lives outside the handlers, so a client that hangs up cancels nothing that is on its way. The queue is bounded;
//! full means an answer at once. A group that Postgres refuses is halved until what is at fault stands alone. Nothing is
//! answered before its entry is committed.

mod group;
mod line;

use std::{sync::Arc, time::Duration};

use shared_models::TenantId;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    Error,
    audit::Entry,
    resolve::{Ask, Resolved},
    vault::{TenantKey, Vault},
};
use group::Verdict;
use line::Line;

/// The most entries of one transaction.
const GROUP: usize = 256;
/// How long a stopping task waits for handlers that are still at work.
const LAST_CALL: Duration = Duration::from_millis(500);

/// The handlers' end of the queue. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    queue: mpsc::Sender<Waiting>,
}

/// Something to be written down, and who waits for that.
#[derive(Debug)]
struct Waiting {
    tenant: TenantId,
    work: Work,
    reply: oneshot::Sender<Verdict>,
}

#[derive(Debug)]
enum Work {
    /// The entry says it all.
    Record(Entry),
    /// Open a credential, and write down how that ended.
    Open { asked: Arc<Asked>, key: Option<TenantKey> },
}

/// A credential to be opened, and the entry that will tell of it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) ask: Ask,
    pub(crate) entry: Entry,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Written down.
    Recorded,
    /// Opened, and written down.
    Opened(Box<Resolved>),
    /// Nothing is written down: it is sealed under this version of the tenant's key, which is not in memory. Fetching it
    /// may take a network call, and there are none within a transaction.
    NeedsKey(i32),
    /// Nothing is written down: the access token in this version is about to end. Getting another takes a network call.
    NeedsToken(i32),
}

impl Ledger {
    /// A queue for so many, and the task that empties it.
    pub(crate) fn new(
        options: &PgConnectOptions,
        queue: usize,
        vault: Vault,
    ) -> (Self, LedgerTask) {
        let (sender, waiting) = mpsc::channel(queue.max(1));
        (Self { queue: sender }, LedgerTask { waiting, vault, line: Line::new(options) })
    }

    /// Writes down an entry.
    pub(crate) async fn record(&self, tenant: TenantId, entry: Entry) -> Result<(), Error> {
        self.submit(tenant, Work::Record(entry)).await.map(drop)
    }

    /// Writes down that a caller was refused, and gives the error back.
    pub(crate) async fn refused(&self, tenant: TenantId, entry: Entry, error: Error) -> Error {
        match self.record(tenant, entry.ended(&error)).await {
            Ok(()) => error,
            // An answer that could not be audited is not given.
            Err(failure) => failure,
        }
    }

    /// Opens a credential and writes down how that ended, refusals too. `key` is the tenant's key, if the last answer
    /// was that it is needed.
    pub(crate) async fn open(
        &self,
        tenant: TenantId,
        asked: Arc<Asked>,
        key: Option<TenantKey>,
    ) -> Result<Answer, Error> {
        self.submit(tenant, Work::Open { asked, key }).await
    }

    /// Hands work over and waits for its commit. Dropping the future loses only the answer.
    async fn submit(&self, tenant: TenantId, work: Work) -> Result<Answer, Error> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Waiting { tenant, work, reply }).map_err(|_| Error::Busy)?;
        answer.await.unwrap_or(Err(Error::Busy))
    }
}

/// The task that writes.
#[derive(Debug)]
pub struct LedgerTask {
    waiting: mpsc::Receiver<Waiting>,
    vault: Vault,
    line: Line,
}

impl LedgerTask {
    /// Writes groups until told to stop and nobody hands anything over any more.
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
        // Heads are locked in the order of tenants; within one, first come, first written.
        group.sort_by_key(|waiting| waiting.tenant);
        metrics::histogram!("credsvc_audit_group_size").record(group.len() as f64);
        let mut parts = vec![group];
        while let Some(mut part) = parts.pop() {
            match self.line.write(&part, &self.vault).await {
                Ok(verdicts) => {
                    for (waiting, verdict) in part.into_iter().zip(verdicts) {
                        reply(waiting, verdict);
                    }
                }
                Err(error) if part.len() > 1 && one_is_at_fault(&error, &part) => {
                    let half = part.split_off(part.len() / 2);
                    parts.push(half);
                    parts.push(part);
                }
                Err(error) => {
                    tracing::warn!(%error, entries = part.len(), "audit entries could not be written");
                    answer_all(part, error);
                }
            }
        }
    }
}

/// Whether the rest may do better without one of them: Postgres refuses what a row says, or somebody holds the end of
/// one tenant's chain.
fn one_is_at_fault(error: &sqlx::Error, part: &[Waiting]) -> bool {
    let several = part.first().map(|first| first.tenant) != part.last().map(|last| last.tenant);
    match error {
        sqlx::Error::Database(_) => {
            let code = line::code(error);
            ["22", "23", "54"].iter().any(|class| code.starts_with(class))
                || (code == line::LOCK_NOT_AVAILABLE && several)
        }
        sqlx::Error::Encode(_) => true,
        _ => false,
    }
}

/// One failed alone: the error is its own. Several failed together: nothing is known but that they may come back.
fn answer_all(part: Vec<Waiting>, error: sqlx::Error) {
    if part.len() == 1 && line::code(&error) != line::LOCK_NOT_AVAILABLE {
        let mut error = Some(error);
        for waiting in part {
            reply(waiting, Err(error.take().map_or(Error::Busy, Error::Db)));
        }
        return;
    }
    for waiting in part {
        reply(waiting, Err(Error::Busy));
    }
}

fn reply(waiting: Waiting, verdict: Verdict) {
    // The client may have hung up; what is written is written.
    let _ = waiting.reply.send(verdict);
}
