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

/// Forgets up to `limit` conversations in which nothing has been said for `days`, with what agents were told to remember
/// about them. Says how many.
pub(crate) async fn forget_conversations(
    tx: &mut SystemTx,
    days: i32,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let gone = sqlx::query_scalar!(
        r#"with due as (
               select c.conversation_id, c.tenant_id, c.agent_id from engine.conversation c
               where c.updated_at < now() - make_interval(days => $1)
                 and not exists (select from engine.run r
                                 where r.conversation_id = c.conversation_id and not r.remembered)
               order by c.updated_at limit $2
               for update of c skip locked
           ), facts as (
               delete from engine.agent_memory m using due d
               where m.tenant_id = d.tenant_id and m.agent_id = d.agent_id
                 and m.subject = 'conversation:' || d.conversation_id
           ), gone as (
               delete from engine.conversation c using due d where c.conversation_id = d.conversation_id
               returning c.conversation_id
           )
           select count(*) as "count!" from gone"#,
        days,
        limit,
    )
    .fetch_one(&mut **tx)
    .await?;
    Ok(gone.cast_unsigned())
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
