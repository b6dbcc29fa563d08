//! What a lost bell or a dead process left behind, found. The first part is done by one process per period for all; the
//! rest is each process's own.
//!
//! These statements cross tenants and use the system login. They are driven from the short lists (open signals, due
//! timers, runs under way), never from all runs: a million that have ended or wait cost nothing.

use std::time::Duration;

use dbutil::{Db, SystemTx};
use shared_models::{RunId, TenantId, WorkerId};

/// Whether it is time for the next sweep of the cluster; the first process that asks does it.
pub(crate) async fn turn(db: &Db, period: Duration) -> Result<bool, sqlx::Error> {
    sqlx::query!(
        "update engine.sweep set swept_at = now() where swept_at <= now() - make_interval(secs => $1)",
        period.as_secs_f64(),
    )
    .execute(db.system_pool())
    .await
    .map(|done| done.rows_affected() == 1)
}

/// Keeps the planner to the short lists, whatever it believes about a fast-growing table.
pub(crate) async fn mind_the_indexes(tx: &mut SystemTx) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("set local enable_seqscan = off; set local jit = off")
        .execute(&mut **tx)
        .await
        .map(drop)
}

/// Queues the runs of workers whose lease has ended. Says how many.
pub(crate) async fn requeue_orphans(tx: &mut SystemTx) -> Result<u64, sqlx::Error> {
    sqlx::query_file!("src/store/requeue_orphans.sql")
        .execute(&mut **tx)
        .await
        .map(|done| done.rows_affected())
}

/// Queues waiting runs that have been told something. Says how many.
pub(crate) async fn requeue_signalled(tx: &mut SystemTx) -> Result<u64, sqlx::Error> {
    sqlx::query_file!("src/store/requeue_signalled.sql")
        .execute(&mut **tx)
        .await
        .map(|done| done.rows_affected())
}

/// Queues waiting runs whose moment has come. Says how many.
pub(crate) async fn requeue_due(tx: &mut SystemTx) -> Result<u64, sqlx::Error> {
    sqlx::query_file!("src/store/requeue_due.sql")
        .execute(&mut **tx)
        .await
        .map(|done| done.rows_affected())
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

#[cfg(test)]
mod tests {
    use testkit::TestDb;

    use super::*;

    #[tokio::test]
    async fn of_many_processes_one_sweeps_per_period() {
        let database = TestDb::new("engine", &crate::MIGRATOR).await;
        let db = database.db("engine").await;
        let period = Duration::from_secs(60);
        let ask = async || {
            let asked = (0..8).map(|_| turn(&db, period));
            let turns = futures::future::join_all(asked).await;
            turns.into_iter().filter(|turn| *turn.as_ref().unwrap()).count()
        };

        assert_eq!((ask().await, ask().await), (1, 0));
        sqlx::query("update engine.sweep set swept_at = now() - interval '61 seconds'")
            .execute(db.system_pool())
            .await
            .unwrap();
        assert_eq!(ask().await, 1);
    }
}
