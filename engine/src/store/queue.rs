//! Runs as a queue with leases: who may take one, who must let go, who is woken. What a lost bell left is in `sweep`.
//!
//! These statements cross tenants and use the system login. Rows are locked with `skip locked` throughout, so that no
//! process waits for another's group of journal records.

use dbutil::{SystemTx, TenantTx};
use shared_models::{
    AgentId, EvaluationId, EventId, RunId, RunMode, TenantId, TriggerId, UserId, WorkerId,
    events::run::RunRef,
};

use crate::record::VERSION;

/// A run as its new owner gets it.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    pub(crate) run: RunId,
    pub(crate) tenant: TenantId,
    pub(crate) root: RunId,
    pub(crate) agent: AgentId,
    /// Who started it, or in whose name it acts.
    pub(crate) user: UserId,
    pub(crate) trigger: Option<TriggerId>,
    pub(crate) event: Option<EventId>,
    pub(crate) attempt: i32,
    pub(crate) mode: String,
    /// What it tries its agent for, or judges for.
    pub(crate) evaluation: Option<EvaluationId>,
    pub(crate) epoch: i32,
    pub(crate) next_seq: i64,
    /// The trace it belongs to.
    pub(crate) traceparent: Option<String>,
    /// Claims since the journal last moved on, this one included.
    pub(crate) claims: i32,
    /// Milliseconds until the deadline; negative when it has passed.
    pub(crate) deadline_ms: i64,
    /// Milliseconds it has waited in the queue.
    pub(crate) queued_ms: i64,
}

impl Claimed {
    /// The run as events name it.
    pub(crate) fn reference(&self) -> RunRef {
        RunRef {
            run_id: self.run,
            agent_id: self.agent,
            root_run_id: self.root,
            trigger_id: self.trigger,
            event_id: self.event,
            attempt: self.attempt,
            mode: self.mode.parse().unwrap_or(RunMode::Dry),
            evaluation_id: self.evaluation,
        }
    }
}

/// One claim at a time in the whole cluster, so that limits hold; any number will do.
pub(crate) const CLAIMING: i64 = 0x5359_434c_4149_4d00;

/// Takes up to `most` queued runs for a worker: one of each tenant, then a second of each, and so on, within the
/// tenant's and the agents' limits.
pub(crate) async fn claim(
    tx: &mut SystemTx,
    worker: WorkerId,
    most: i64,
    tenant_limit: i32,
) -> Result<Vec<Claimed>, sqlx::Error> {
    // A process that is stopped while it holds the lock must not stop the others; and the planner is kept to the indexes,
    // whatever it believes about a fast-growing table.
    sqlx::query!(
        "select set_config('idle_in_transaction_session_timeout', '2000', true) as patience,
                set_config('enable_seqscan', 'off', true) as seqscan, set_config('jit', 'off', true) as jit,
                pg_advisory_xact_lock($1)::text as held",
        CLAIMING,
    )
    .fetch_one(&mut **tx)
    .await?;
    sqlx::query_file_as!(
        Claimed,
        "src/store/claim.sql",
        worker as _,
        most,
        i64::from(tenant_limit),
        VERSION
    )
    .fetch_all(&mut **tx)
    .await
}

/// Whether a claim that led to nothing counts towards poison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    Yes,
    No,
}

/// Puts a run back that its owner does not finish; the next one goes on from the last record.
pub(crate) async fn release(
    tx: &mut TenantTx,
    run: RunId,
    epoch: i32,
    counted: Counted,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    let uncount = i32::from(counted == Counted::No);
    sqlx::query!(
        "update engine.run
         set status = 'queued', worker_id = null, queued_at = now(), claims = greatest(claims - $4, 0)
         where tenant_id = $1 and run_id = $2 and epoch = $3 and status = 'running'",
        tenant as _,
        run as _,
        epoch,
        uncount,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Queues one waiting run, because somebody has just told it something.
pub(crate) async fn wake(tx: &mut TenantTx, run: RunId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.run set status = 'queued', wait_reason = null, queued_at = now()
         where tenant_id = $1 and run_id = $2 and status = 'waiting'",
        tenant as _,
        run as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// The same for a run that is to end, also while it is paused.
pub(crate) async fn rouse(tx: &mut TenantTx, run: RunId) -> Result<(), sqlx::Error> {
    wake(tx, run).await?;
    unpause(tx, run).await
}

/// Queues a run that was paused.
pub(crate) async fn unpause(tx: &mut TenantTx, run: RunId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.run set status = 'queued', queued_at = now()
         where tenant_id = $1 and run_id = $2 and status = 'paused'",
        tenant as _,
        run as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}
