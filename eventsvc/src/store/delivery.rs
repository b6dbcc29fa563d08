//! Deliveries, read. They are written by groups, in `group`, and forgotten in `retention`.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use dbutil::{Cursor, TenantTx};
use serde_json::Value;
use shared_models::{DeliveryId, SourceId, TriggerId};

use crate::viewer::Viewer;

/// A delivery without its content.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub delivery_id: DeliveryId,
    pub source_id: SourceId,
    pub dedupe_key: Option<String>,
    pub status: String,
    pub reason_class: Option<String>,
    pub reason: Option<String>,
    pub verified_by: String,
    pub content_type: Option<String>,
    pub payload_bytes: i32,
    pub occurred_at: DateTime<Utc>,
    pub received_at: DateTime<Utc>,
}

/// A delivery's content.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub content_type: Option<String>,
    pub headers: Value,
    pub body: Vec<u8>,
}

/// What a list of deliveries is narrowed by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Narrow {
    /// One and the same firing that the caller sees is this trigger's, has this status and this reason.
    pub trigger: Option<TriggerId>,
    pub status: Option<String>,
    pub reason: Option<String>,
    pub since: Option<DateTime<Utc>>,
    pub until: Option<DateTime<Utc>>,
    /// And its latest attempt made no run.
    pub without_run: bool,
}

/// A page of the deliveries that came for a trigger the caller sees, also a deleted one; newest first, and one more.
pub(crate) async fn list_page(
    tx: &mut TenantTx,
    viewer: &Viewer,
    narrow: &Narrow,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<Delivery>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Delivery,
        r#"select d.delivery_id as "delivery_id: DeliveryId", d.source_id as "source_id: SourceId", d.dedupe_key,
                  d.status, d.reason_class, d.reason, d.verified_by, d.content_type,
                  octet_length(d.body) as "payload_bytes!", d.occurred_at, d.received_at
           from eventsvc.delivery d
           where d.tenant_id = $1
             and exists (
                 select from eventsvc.firing f join eventsvc.trigger t on t.trigger_id = f.trigger_id
                 where f.tenant_id = $1 and t.tenant_id = $1 and f.delivery_id = d.delivery_id
                   and ($2 or t.owner_id = $3 or (t.scope = 'team' and t.team_id = any($4)))
                   and ($5::uuid is null or t.trigger_id = $5)
                   and ($6::text is null or f.status = $6)
                   and ($7::text is null or f.reason_class = $7)
                   and (not $13 or f.run_id is null))
             and ($8::timestamptz is null or d.received_at >= $8)
             and ($9::timestamptz is null or d.received_at < $9)
             and ($10::timestamptz is null or (d.received_at, d.delivery_id) < ($10, $11::uuid))
           order by d.received_at desc, d.delivery_id desc
           limit $12"#,
        tenant as _,
        viewer.admin,
        viewer.user as _,
        &viewer.teams,
        narrow.trigger as _,
        narrow.status,
        narrow.reason,
        narrow.since,
        narrow.until,
        after.map(|cursor| cursor.at),
        after.map(|cursor| cursor.id),
        limit + 1,
        narrow.without_run,
    )
    .fetch_all(&mut **tx)
    .await
}

/// All that this transaction reads from here on is as of one moment. Must be its first statement.
pub(crate) async fn as_of_now(tx: &mut TenantTx) -> Result<(), sqlx::Error> {
    let isolation = "set transaction isolation level repeatable read, read only";
    sqlx::raw_sql(isolation).execute(&mut **tx).await.map(drop)
}

/// The delivery, if the caller sees a trigger it came for.
pub(crate) async fn find(
    tx: &mut TenantTx,
    viewer: &Viewer,
    id: DeliveryId,
) -> Result<Option<Delivery>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Delivery,
        r#"select d.delivery_id as "delivery_id: DeliveryId", d.source_id as "source_id: SourceId", d.dedupe_key,
                  d.status, d.reason_class, d.reason, d.verified_by, d.content_type,
                  octet_length(d.body) as "payload_bytes!", d.occurred_at, d.received_at
           from eventsvc.delivery d
           where d.tenant_id = $1 and d.delivery_id = $2
             and exists (
                 select from eventsvc.firing f join eventsvc.trigger t on t.trigger_id = f.trigger_id
                 where f.tenant_id = $1 and t.tenant_id = $1 and f.delivery_id = d.delivery_id
                   and ($3 or t.owner_id = $4 or (t.scope = 'team' and t.team_id = any($5))))"#,
        tenant as _,
        id as _,
        viewer.admin,
        viewer.user as _,
        &viewer.teams,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// What was received.
pub(crate) async fn content(
    tx: &mut TenantTx,
    id: DeliveryId,
) -> Result<Option<Content>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Content,
        "select content_type, headers, body from eventsvc.delivery where tenant_id = $1 and delivery_id = $2",
        tenant as _,
        id as _,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// The delivery fired after all.
pub(crate) async fn mark_fired(tx: &mut TenantTx, id: DeliveryId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update eventsvc.delivery set status = 'fired', reason_class = null, reason = null
         where tenant_id = $1 and delivery_id = $2 and status <> 'fired'",
        tenant as _,
        id as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Which of these keys have a delivery at a source.
pub(crate) async fn known_keys(
    tx: &mut TenantTx,
    source: SourceId,
    keys: &[String],
) -> Result<HashSet<String>, sqlx::Error> {
    let tenant = tx.tenant();
    let found = sqlx::query_scalar!(
        r#"select dedupe_key as "key!" from eventsvc.delivery
           where tenant_id = $1 and source_id = $2 and dedupe_key = any($3)"#,
        tenant as _,
        source as _,
        keys,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(found.into_iter().collect())
}
