//! Forgetting, a little at a time and tenant by tenant: what was said and done in runs that have ended, much later that
//! they were; conversations, what agents remember, what was used, what endpoints were told, evaluations.
//!
//! A run that has not ended loses nothing, nor does one whose tree has not, one that is still in doubt about a call, one
//! that a fork refers to, or one that its conversation has not yet taken up. Rows are locked with `skip locked`, so replicas
//! share the work. Days are the platform's; what a tenant has said in `engine.retention` takes their place.

use dbutil::SystemTx;

/// Forgets the content of trees of runs that ended more than `days` ago, or more than `run_days`: at most `limit` trees and
/// about 5,000 records at once. Says how many trees.
pub(crate) async fn forget_content(
    tx: &mut SystemTx,
    (days, run_days): (i32, i32),
    limit: i64,
) -> Result<u64, sqlx::Error> {
    sqlx::query_file_scalar!("src/store/forget_content.sql", days, limit, run_days)
        .fetch_one(&mut **tx)
        .await
        .map(i64::cast_unsigned)
}

/// Forgets up to `limit` runs that ended more than `days` ago and have no content any more. Says how many.
pub(crate) async fn forget_runs(
    tx: &mut SystemTx,
    days: i32,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    sqlx::query_file_scalar!("src/store/forget_runs.sql", days, limit)
        .fetch_one(&mut **tx)
        .await
        .map(i64::cast_unsigned)
}

/// Forgets up to `limit` conversations in which nothing has been said for `days`, with what agents were told to remember
/// about them. Says how many.
pub(crate) async fn forget_conversations(
    tx: &mut SystemTx,
    days: i32,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    sqlx::query_file_scalar!("src/store/forget_conversations.sql", days, limit)
        .fetch_one(&mut **tx)
        .await
        .map(i64::cast_unsigned)
}

/// Forgets up to `limit` things that agents were told to remember, about people or at all, and that were not written
/// again for `days`. Says how many.
pub(crate) async fn forget_memory(
    tx: &mut SystemTx,
    days: Option<i32>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    sqlx::query_file_scalar!("src/store/forget_memory.sql", days as Option<i32>, limit)
        .fetch_one(&mut **tx)
        .await
        .map(i64::cast_unsigned)
}

/// Forgets up to `limit` counts of what was used more than `days` ago, as engines of before have counted it. Says how many.
pub(crate) async fn forget_usage(
    tx: &mut SystemTx,
    days: i32,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    sqlx::query_file_scalar!("src/store/forget_usage.sql", days, limit)
        .fetch_one(&mut **tx)
        .await
        .map(i64::cast_unsigned)
}

/// The same, of what engines of this release count.
pub(crate) async fn forget_user_usage(
    tx: &mut SystemTx,
    days: i32,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    sqlx::query_file_scalar!("src/store/forget_user_usage.sql", days, limit)
        .fetch_one(&mut **tx)
        .await
        .map(i64::cast_unsigned)
}

/// Forgets up to `limit` deliveries of webhooks that were noted more than `days` ago and are not due any more. Says how
/// many.
pub(crate) async fn forget_deliveries(
    tx: &mut SystemTx,
    days: i32,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    sqlx::query_file_scalar!("src/store/forget_deliveries.sql", days, limit)
        .fetch_one(&mut **tx)
        .await
        .map(i64::cast_unsigned)
}

/// Forgets up to `limit` evaluations that finished more than `days` ago, and the words of up to as many that finished more
/// than `content_days` ago. Says how many.
pub(crate) async fn forget_evaluations(
    tx: &mut SystemTx,
    (days, content_days): (i32, i32),
    limit: i64,
) -> Result<u64, sqlx::Error> {
    sqlx::query_file_scalar!("src/store/forget_evaluations.sql", days, limit, content_days)
        .fetch_one(&mut **tx)
        .await
        .map(i64::cast_unsigned)
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
