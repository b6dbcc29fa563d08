//! Telling many runs the same, in a few statements.
//!
//! Rows that somebody else holds are passed over. A group of journal records holds the rows of several runs, in an order of its
//! own: whoever waited for one of them with others in hand could wait for ever.

use dbutil::TenantTx;
use shared_models::{RunId, RunStatus};
use sqlx::types::Uuid;

use super::run;
use super::signal::{self, Signal};

const UNDER_WAY: [&str; 4] = ["queued", "running", "waiting", "paused"];

/// Tells those of the runs to stop that have not ended, and queues those that stand still. Gives those it has told.
pub(crate) async fn cancel(
    tx: &mut TenantTx,
    runs: &[RunId],
    signal: &Signal,
) -> Result<Vec<RunId>, sqlx::Error> {
    let held = hold(tx, runs, &UNDER_WAY).await?;
    let told = insert(tx, &held, signal, &[]).await?;
    rouse(tx, &told).await?;
    Ok(told)
}

/// Tells those of the runs to go on that are paused and have not been told to stop or to go on since. Gives those it has told.
pub(crate) async fn resume(
    tx: &mut TenantTx,
    runs: &[RunId],
    signal: &Signal,
) -> Result<Vec<RunId>, sqlx::Error> {
    let held = hold(tx, runs, &["paused"]).await?;
    let told = insert(tx, &held, signal, &["pause", "resume"]).await?;
    rouse(tx, &told).await?;
    Ok(told)
}

/// Locks all of them that have not ended, and gives those. Nobody who holds one of them is waited for with others in hand:
/// those are let go, and taken again behind the one that was waited for.
pub(crate) async fn hold_all(
    tx: &mut TenantTx,
    mut runs: Vec<RunId>,
) -> Result<Vec<RunId>, sqlx::Error> {
    let mut awaited = None;
    loop {
        sqlx::query!("savepoint all_of_them").execute(&mut **tx).await?;
        if let Some(awaited) = awaited
            && run::hold(tx, awaited).await?.is_none_or(RunStatus::terminal)
        {
            runs.retain(|run| *run != awaited);
        }
        let held = hold(tx, &runs, &UNDER_WAY).await?;
        awaited = runs.iter().find(|run| !held.contains(run)).copied();
        if awaited.is_none() {
            sqlx::query!("release savepoint all_of_them").execute(&mut **tx).await?;
            return Ok(runs);
        }
        sqlx::query!("rollback to savepoint all_of_them").execute(&mut **tx).await?;
        sqlx::query!("release savepoint all_of_them").execute(&mut **tx).await?;
    }
}

/// Locks those that have one of these statuses. What is read of them afterwards, in a statement of its own, stays so.
async fn hold(
    tx: &mut TenantTx,
    runs: &[RunId],
    statuses: &[&str],
) -> Result<Vec<RunId>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"select run_id as "run_id: RunId" from engine.run
           where tenant_id = $1 and run_id = any ($2::uuid[]) and status = any ($3::text[])
           for no key update skip locked"#,
        tenant as _,
        &uuids(runs),
        statuses as _,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Writes it down for those that have no signal of these kinds before them.
async fn insert(
    tx: &mut TenantTx,
    runs: &[RunId],
    signal: &Signal,
    unless: &[&str],
) -> Result<Vec<RunId>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"insert into engine.run_signal (run_id, tenant_id, signal)
           select told.run_id, $1, $3::text::jsonb from unnest($2::uuid[]) as told (run_id)
           where not exists (select from engine.run_signal s
                             where s.tenant_id = $1 and s.run_id = told.run_id and s.drained_at is null
                               and s.signal ->> 'signal' = any ($4::text[]))
           returning run_id as "run_id: RunId""#,
        tenant as _,
        &uuids(runs),
        signal::text(signal)?,
        unless as _,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Queues those that wait or are paused.
async fn rouse(tx: &mut TenantTx, runs: &[RunId]) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.run set status = 'queued', wait_reason = null, queued_at = now()
         where tenant_id = $1 and run_id = any ($2::uuid[]) and status in ('waiting', 'paused')",
        tenant as _,
        &uuids(runs),
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

fn uuids(runs: &[RunId]) -> Vec<Uuid> {
    runs.iter().map(|run| run.uuid()).collect()
}
