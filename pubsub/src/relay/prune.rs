//! Forgetting what the plumbing no longer needs, a little at a time.

use std::time::Duration;

use dbutil::{Db, idempotency};

const ROWS: i64 = 5_000;
const ROUNDS: usize = 20;
/// Longer than any redelivery or replay.
const INBOX_DAYS: i32 = 30;

pub(super) async fn prune(db: &Db, keep: Duration) -> Result<(), sqlx::Error> {
    while_many(|| outbox(db, keep)).await?;
    while_many(|| inbox(db)).await?;
    while_many(|| answers(db)).await?;
    sqlx::query("delete from listener_failure where failed_at < now() - make_interval(days => $1)")
        .bind(INBOX_DAYS)
        .execute(db.system_pool())
        .await
        .map(drop)
}

/// Again as long as there was as much as one statement takes, but not for ever.
async fn while_many<F: Future<Output = Result<u64, sqlx::Error>>>(
    mut forget: impl FnMut() -> F,
) -> Result<(), sqlx::Error> {
    for _ in 0..ROUNDS {
        if forget().await? < ROWS as u64 {
            break;
        }
    }
    Ok(())
}

async fn outbox(db: &Db, keep: Duration) -> Result<u64, sqlx::Error> {
    sqlx::query(
        "delete from outbox where message_id in (
             select message_id from outbox
             where published_at < now() - make_interval(secs => $1)
             order by published_at limit $2)",
    )
    .bind(keep.as_secs_f64())
    .bind(ROWS)
    .execute(db.system_pool())
    .await
    .map(|done| done.rows_affected())
}

async fn inbox(db: &Db) -> Result<u64, sqlx::Error> {
    sqlx::query(
        "delete from inbox where (consumer, message_id) in (
             select consumer, message_id from inbox
             where received_at < now() - make_interval(days => $1)
             order by received_at limit $2)",
    )
    .bind(INBOX_DAYS)
    .bind(ROWS)
    .execute(db.system_pool())
    .await
    .map(|done| done.rows_affected())
}

/// The answers stored under an `Idempotency-Key`: every service that takes one has a relay, so they are forgotten here.
async fn answers(db: &Db) -> Result<u64, sqlx::Error> {
    let mut tx = db.system("forget old answers").await?;
    let gone = idempotency::prune(&mut tx, ROWS).await?;
    tx.commit().await?;
    Ok(gone)
}
