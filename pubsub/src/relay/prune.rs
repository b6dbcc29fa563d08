//! Forgetting what the plumbing no longer needs, a little at a time.

use std::time::Duration;

use dbutil::Db;

const ROWS: i64 = 5_000;
const ROUNDS: usize = 20;
/// Longer than any redelivery or replay.
const INBOX_DAYS: i32 = 30;

pub(super) async fn prune(db: &Db, keep: Duration) -> Result<(), sqlx::Error> {
    for _ in 0..ROUNDS {
        let gone = sqlx::query(
            "delete from outbox where message_id in (
                 select message_id from outbox
                 where published_at < now() - make_interval(secs => $1)
                 order by published_at limit $2)",
        )
        .bind(keep.as_secs_f64())
        .bind(ROWS)
        .execute(db.system_pool())
        .await?
        .rows_affected();
        if gone < ROWS as u64 {
            break;
        }
    }
    sqlx::query(
        "delete from inbox where (consumer, message_id) in (
             select consumer, message_id from inbox
             where received_at < now() - make_interval(days => $1)
             order by received_at limit $2)",
    )
    .bind(INBOX_DAYS)
    .bind(ROWS)
    .execute(db.system_pool())
    .await?;
    sqlx::query("delete from listener_failure where failed_at < now() - make_interval(days => $1)")
        .bind(INBOX_DAYS)
        .execute(db.system_pool())
        .await
        .map(drop)
}
