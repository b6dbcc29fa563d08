//! Ended runs, forgotten in two steps: first what was said and done in them, much later that they were.
//!
//! A run that has not ended loses nothing, nor does one whose tree has not, one that is still in doubt about a call, or
//! one that its conversation has not yet taken up. Rows are locked with `skip locked`, so replicas share the work.

use dbutil::SystemTx;

/// Forgets the content of trees of runs that ended more than `days` ago: at most `limit` trees and about 5,000 records at
/// once. Says how many trees.
pub(crate) async fn forget_content(
    tx: &mut SystemTx,
    days: i32,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let trees = sqlx::query_file_scalar!("src/store/forget_content.sql", days, limit)
        .fetch_one(&mut **tx)
        .await?;
    Ok(trees.cast_unsigned())
}

/// Forgets up to `limit` runs that ended more than `days` ago and have no content any more. Says how many.
pub(crate) async fn forget_runs(
    tx: &mut SystemTx,
    days: i32,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let runs = sqlx::query_file_scalar!("src/store/forget_runs.sql", days, limit)
        .fetch_one(&mut **tx)
        .await?;
    Ok(runs.cast_unsigned())
}

/// Forgets workers that have been silent for an hour.
pub(crate) async fn forget_workers(tx: &mut SystemTx, limit: i64) -> Result<u64, sqlx::Error> {
    sqlx::query!(
        "delete from engine.worker where worker_id in (
             select worker_id from engine.worker where lease_until < now() - interval '1 hour'
             limit $1 for update skip locked)",
        limit,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected())
}
