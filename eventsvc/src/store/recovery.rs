//! What reconcilers found that the provider had not told of.

use chrono::{DateTime, Utc};
use dbutil::{Cursor, SystemTx, TenantTx};
use shared_models::SourceId;
use uuid::Uuid;

/// What one look found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewRecovery<'a> {
    pub source: SourceId,
    pub recovered: i64,
    /// When the first and the last of it had happened.
    pub first: DateTime<Utc>,
    pub last: DateTime<Utc>,
    pub note: &'a str,
}

/// The same, as stored.
#[derive(Clone, Debug)]
pub(crate) struct Recovery {
    pub recovery_id: Uuid,
    pub recovered: i64,
    pub first_at: DateTime<Utc>,
    pub last_at: DateTime<Utc>,
    pub note: String,
    pub found_at: DateTime<Utc>,
}

/// Writes one down.
pub(crate) async fn insert(tx: &mut TenantTx, new: &NewRecovery<'_>) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into eventsvc.recovery (recovery_id, tenant_id, source_id, recovered, first_at, last_at, note)
         values ($1, $2, $3, $4, $5, $6, $7)",
        shared_models::MessageId::mint().uuid(),
        tenant as _,
        new.source as _,
        new.recovered,
        new.first,
        new.last,
        new.note,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// A page of what was found at a source, latest first, and one more.
pub(crate) async fn list_page(
    tx: &mut TenantTx,
    source: SourceId,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<Recovery>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Recovery,
        "select recovery_id, recovered, first_at, last_at, note, found_at from eventsvc.recovery
         where tenant_id = $1 and source_id = $2
           and ($3::timestamptz is null or (found_at, recovery_id) < ($3, $4::uuid))
         order by found_at desc, recovery_id desc limit $5",
        tenant as _,
        source as _,
        after.map(|cursor| cursor.at),
        after.map(|cursor| cursor.id),
        limit + 1,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Forgets up to `limit` that are older than so many days.
pub(crate) async fn forget(tx: &mut SystemTx, days: i32, limit: i64) -> Result<u64, sqlx::Error> {
    sqlx::query!(
        "delete from eventsvc.recovery where recovery_id = any (array(
             select recovery_id from eventsvc.recovery where found_at < now() - make_interval(days => $1)
             order by found_at limit $2 for update skip locked))",
        days,
        limit,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected())
}
