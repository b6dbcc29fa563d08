//! Events set aside because their own handling failed: a person lists, replays or drops them.
//!
//! A replay never goes over the bus: the consumer that gave up takes the event from the table, so nobody else hears it
//! again and no service needs the right to publish another's events.

use chrono::{DateTime, Utc};
use dbutil::{Cursor, Page, PageQuery, TenantTx, page::BadCursor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared_models::{MessageId, wire_time};
use utoipa::ToSchema;

/// An event set aside, without its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::FromRow)]
pub struct ParkedEvent {
    /// The consumer that gave up.
    pub consumer: String,
    /// The message.
    pub message_id: MessageId,
    /// The event's name, when it could be read.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Why it was set aside.
    pub reason: String,
    /// How often it was tried.
    pub deliveries: i32,
    /// When it was set aside.
    #[serde(serialize_with = "wire_time::time")]
    pub parked_at: DateTime<Utc>,
    /// When another try was asked for; absent while nobody did.
    #[serde(serialize_with = "wire_time::maybe", skip_serializing_if = "Option::is_none")]
    pub replay_requested_at: Option<DateTime<Utc>>,
}

/// Why a list cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The cursor is not one of ours.
    #[error(transparent)]
    Cursor(#[from] BadCursor),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] sqlx::Error),
}

/// The tenant's parked events, newest first.
pub async fn list(tx: &mut TenantTx, page: &PageQuery) -> Result<Page<ParkedEvent>, ListError> {
    let (tenant, after) = (tx.tenant(), page.after()?);
    let items: Vec<ParkedEvent> = sqlx::query_as(
        "select consumer, message_id, envelope ->> 'type' as kind, reason, deliveries, parked_at,
                replay_requested_at
         from parked
         where tenant_id = $1
           and ($2::timestamptz is null or (parked_at, message_id) < ($2, $3))
         order by parked_at desc, message_id desc limit $4 + 1",
    )
    .bind(tenant)
    .bind(after.map(|cursor| cursor.at))
    .bind(after.map(|cursor| cursor.id))
    .bind(page.limit())
    .fetch_all(&mut **tx)
    .await?;
    Ok(Page::new(items, page.limit(), |item| Cursor {
        at: item.parked_at,
        id: item.message_id.uuid(),
    }))
}

/// A parked event's whole envelope; only for who may see payloads.
pub async fn envelope(
    tx: &mut TenantTx,
    consumer: &str,
    id: MessageId,
) -> Result<Option<Value>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar(
        "select envelope from parked where tenant_id = $1 and consumer = $2 and message_id = $3",
    )
    .bind(tenant)
    .bind(consumer)
    .bind(id)
    .fetch_optional(&mut **tx)
    .await
}

/// Asks the consumer to try the event once more, soon after the commit; false when there is no such event. A try that
/// fails leaves the event parked with the new reason.
pub async fn replay(tx: &mut TenantTx, consumer: &str, id: MessageId) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query(
        "update parked set replay_requested_at = coalesce(replay_requested_at, now())
         where tenant_id = $1 and consumer = $2 and message_id = $3",
    )
    .bind(tenant)
    .bind(consumer)
    .bind(id)
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected() == 1)
}

/// Forgets the event for good; false when there is no such event.
pub async fn drop(tx: &mut TenantTx, consumer: &str, id: MessageId) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query("delete from parked where tenant_id = $1 and consumer = $2 and message_id = $3")
        .bind(tenant)
        .bind(consumer)
        .bind(id)
        .execute(&mut **tx)
        .await
        .map(|done| done.rows_affected() == 1)
}
