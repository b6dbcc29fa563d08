//! What a consumer remembers: messages taken, an event's own failures, and events set aside.

use dbutil::{Db, TenantTx};
use shared_models::{MessageId, TenantId};

/// Remembers the message in the caller's transaction; false when it was taken before.
pub(crate) async fn remember(
    tx: &mut TenantTx,
    consumer: &str,
    id: MessageId,
) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query(
        "insert into inbox (consumer, message_id, tenant_id) values ($1, $2, $3)
         on conflict (consumer, message_id) do nothing",
    )
    .bind(consumer)
    .bind(id)
    .bind(tenant)
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected() == 1)
}

/// A message as it can be set aside: even one nobody could read has an id.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) id: MessageId,
    pub(crate) tenant: TenantId,
    pub(crate) subject: String,
    /// JSON text.
    pub(crate) envelope: String,
}

/// Counts a failure of the event's own and says how many there are now.
pub(crate) async fn count_failure(
    db: &Db,
    consumer: &str,
    kept: &Kept,
    reason: &str,
) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar(
        "insert into listener_failure as f (consumer, message_id, tenant_id, failures, last_reason)
         values ($1, $2, $3, 1, $4)
         on conflict (consumer, message_id) do update
         set failures = f.failures + 1, last_reason = excluded.last_reason, failed_at = now()
         returning failures",
    )
    .bind(consumer)
    .bind(kept.id)
    .bind(kept.tenant)
    .bind(reason)
    .fetch_one(db.system_pool())
    .await
}

/// Sets the event aside; its failures are then part of the parked row.
pub(crate) async fn park(
    db: &Db,
    consumer: &str,
    kept: &Kept,
    reason: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "with failed as (
             delete from listener_failure where consumer = $1 and message_id = $2 returning failures)
         insert into parked as p
             (consumer, message_id, tenant_id, subject, envelope, reason, deliveries)
         values ($1, $2, $3, $4, $5::jsonb, $6, coalesce((select failures from failed), 1))
         on conflict (consumer, message_id) do update
         set reason = excluded.reason, deliveries = p.deliveries + 1, replay_requested_at = null",
    )
    .bind(consumer)
    .bind(kept.id)
    .bind(kept.tenant)
    .bind(&kept.subject)
    .bind(&kept.envelope)
    .bind(reason)
    .execute(db.system_pool())
    .await
    .map(drop)
}

/// Sets an event aside again whose replay failed; not one that another replica has taken, or somebody dropped, meanwhile.
pub(crate) async fn park_again(
    db: &Db,
    consumer: &str,
    kept: &Kept,
    reason: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update parked set reason = $3, deliveries = deliveries + 1, replay_requested_at = null
         where consumer = $1 and message_id = $2 and replay_requested_at is not null",
    )
    .bind(consumer)
    .bind(kept.id)
    .bind(reason)
    .execute(db.system_pool())
    .await
    .map(drop)
}

/// Events whose replay was asked for, oldest first.
pub(crate) async fn replays(db: &Db, consumer: &str) -> Result<Vec<Kept>, sqlx::Error> {
    let rows: Vec<(MessageId, TenantId, String, String)> = sqlx::query_as(
        "select message_id, tenant_id, subject, envelope::text from parked
         where consumer = $1 and replay_requested_at is not null
         order by replay_requested_at limit 16",
    )
    .bind(consumer)
    .fetch_all(db.system_pool())
    .await?;
    let kept = |(id, tenant, subject, envelope)| Kept { id, tenant, subject, envelope };
    Ok(rows.into_iter().map(kept).collect())
}

/// Takes a parked event back in the transaction that handles it; false when another replica did.
pub(crate) async fn unpark(
    tx: &mut TenantTx,
    consumer: &str,
    id: MessageId,
) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query(
        "delete from parked where tenant_id = $1 and consumer = $2 and message_id = $3
           and replay_requested_at is not null",
    )
    .bind(tenant)
    .bind(consumer)
    .bind(id)
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected() == 1)
}
