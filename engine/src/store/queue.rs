//! Runs as a queue with leases: who may take one, who must let go, who is woken.
//!
//! These statements cross tenants and use the system login. Rows are locked with `skip locked` throughout, so that no
//! process waits for another's group of journal records.

use dbutil::{Db, SystemTx, TenantTx};
use shared_models::{AgentId, EventId, RunId, TenantId, TriggerId, WorkerId, events::run::RunRef};

/// A run as its new owner gets it.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    pub(crate) run: RunId,
    pub(crate) tenant: TenantId,
    pub(crate) root: RunId,
    pub(crate) agent: AgentId,
    pub(crate) trigger: Option<TriggerId>,
    pub(crate) event: Option<EventId>,
    pub(crate) attempt: i32,
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
        }
    }
}

/// One claim at a time in the whole cluster, so that limits hold; any number will do.
const CLAIMING: i64 = 0x5359_434c_4149_4d00;

/// Takes up to `most` queued runs for a worker: one of each tenant, then a second of each, and so on, within the
/// tenant's and the agents' limits.
pub(crate) async fn claim(
    tx: &mut SystemTx,
    worker: WorkerId,
    most: i64,
    tenant_limit: i32,
) -> Result<Vec<Claimed>, sqlx::Error> {
    // A process that is stopped while it holds the lock must not stop the others.
    sqlx::query!(
        "select set_config('idle_in_transaction_session_timeout', '2000', true), pg_advisory_xact_lock($1)::text",
        CLAIMING,
    )
    .fetch_one(&mut **tx)
    .await?;
    sqlx::query_file_as!(Claimed, "src/store/claim.sql", worker as _, most, i64::from(tenant_limit))
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

/// Queues the runs of workers whose lease has ended. Says how many.
pub(crate) async fn requeue_orphans(db: &Db) -> Result<u64, sqlx::Error> {
    sqlx::query!(
        "update engine.run set status = 'queued', worker_id = null, queued_at = now()
         where run_id in (
             select r.run_id from engine.run r
             where r.status = 'running' and not exists (
                 select from engine.worker w where w.worker_id = r.worker_id and w.lease_until > now())
             limit 1000 for update skip locked)"
    )
    .execute(db.system_pool())
    .await
    .map(|done| done.rows_affected())
}

/// Queues waiting runs that have been told something. Says how many.
pub(crate) async fn requeue_signalled(db: &Db) -> Result<u64, sqlx::Error> {
    sqlx::query!(
        "update engine.run set status = 'queued', wait_reason = null, queued_at = now()
         where run_id in (
             select r.run_id from engine.run r
             where r.status = 'waiting' and r.run_id in (
                 select s.run_id from engine.run_signal s where s.drained_at is null)
             limit 1000 for update skip locked)"
    )
    .execute(db.system_pool())
    .await
    .map(|done| done.rows_affected())
}

/// Queues waiting runs whose moment has come. Says how many.
pub(crate) async fn requeue_due(db: &Db) -> Result<u64, sqlx::Error> {
    sqlx::query!(
        "update engine.run set status = 'queued', wait_reason = null, queued_at = now()
         where run_id in (
             select r.run_id from engine.run r
             where r.status = 'waiting' and r.run_id in (
                 select t.run_id from engine.run_timer t where t.due_at <= now())
             limit 1000 for update skip locked)"
    )
    .execute(db.system_pool())
    .await
    .map(|done| done.rows_affected())
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

/// Which of a worker's own runs have been told something.
pub(crate) async fn signalled(db: &Db, worker: WorkerId) -> Result<Vec<RunId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select distinct s.run_id as "run: RunId"
           from engine.run_signal s join engine.run r using (run_id)
           where s.drained_at is null and r.worker_id = $1 and r.status = 'running'"#,
        worker as _,
    )
    .fetch_all(db.system_pool())
    .await
}

/// What the database believes a worker to be working on: run and epoch, each with its tenant.
pub(crate) async fn owned(
    db: &Db,
    worker: WorkerId,
) -> Result<Vec<(TenantId, RunId, i32)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select tenant_id as "tenant: TenantId", run_id as "run: RunId", epoch from engine.run
           where status = 'running' and worker_id = $1"#,
        worker as _,
    )
    .fetch_all(db.system_pool())
    .await?;
    Ok(rows.into_iter().map(|row| (row.tenant, row.run, row.epoch)).collect())
}

/// Whether anything waits for a worker.
pub(crate) async fn anything_queued(db: &Db) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from engine.run where status = 'queued') as "any!""#
    )
    .fetch_one(db.system_pool())
    .await
}
