//! What became of telling endpoints, for people to look at and to ask for again.

use chrono::{DateTime, Utc};
use dbutil::{Cursor, Page, PageQuery, TenantTx};
use serde::Serialize;
use shared_models::{MessageId, RunId, WebhookEndpointId, wire_time};
use sqlx::types::Uuid;
use utoipa::ToSchema;

use crate::error::Error;

/// One event for one endpoint.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Delivery {
    /// The `webhook-id`: the same at each attempt.
    pub(crate) message_id: MessageId,
    pub(crate) event_type: String,
    pub(crate) run_id: Option<RunId>,
    /// `pending`, `delivered`, `failed` (no more attempts) or `skipped` (the endpoint was disabled).
    pub(crate) status: String,
    /// Attempts so far.
    pub(crate) attempts: i32,
    /// When the next one is due; while one is under way, when another would be if that got lost.
    #[serde(serialize_with = "wire_time::maybe")]
    pub(crate) next_attempt_at: Option<DateTime<Utc>>,
    /// What was answered last.
    pub(crate) status_code: Option<i32>,
    /// The beginning of that answer: 1 KiB at most.
    pub(crate) response: Option<String>,
    /// Why there was no answer.
    pub(crate) error: Option<String>,
    #[serde(serialize_with = "wire_time::time")]
    pub(crate) occurred_at: DateTime<Utc>,
    #[serde(serialize_with = "wire_time::time")]
    pub(crate) created_at: DateTime<Utc>,
    #[serde(serialize_with = "wire_time::maybe")]
    pub(crate) ended_at: Option<DateTime<Utc>>,
}

/// An attempt.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AttemptView {
    /// The how many-th.
    pub(crate) n: i32,
    #[serde(serialize_with = "wire_time::time")]
    pub(crate) at: DateTime<Utc>,
    pub(crate) duration_ms: i32,
    pub(crate) status_code: Option<i32>,
    pub(crate) response: Option<String>,
    pub(crate) error: Option<String>,
}

/// What a list is narrowed to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter<'a> {
    pub(crate) status: Option<&'a str>,
    pub(crate) event_type: Option<&'a str>,
    pub(crate) run: Option<RunId>,
}

/// What an endpoint was to be told, newest first.
pub(crate) async fn list_page(
    tx: &mut TenantTx,
    endpoint: WebhookEndpointId,
    filter: &Filter<'_>,
    page: &PageQuery,
) -> Result<Page<Delivery>, Error> {
    let tenant = tx.tenant();
    let after = page.after().map_err(servicekit::Problem::from)?;
    let rows = sqlx::query_as!(
        Delivery,
        r#"select message_id as "message_id: MessageId", event_type, run_id as "run_id: RunId", status, attempts,
                  next_attempt_at, status_code, response, error, occurred_at, created_at, ended_at
           from engine.webhook_delivery
           where tenant_id = $1 and endpoint_id = $2
             and ($3::text is null or status = $3) and ($4::text is null or event_type = $4)
             and ($5::uuid is null or run_id = $5)
             and ($6::timestamptz is null or (created_at, message_id) < ($6, $7))
           order by created_at desc, message_id desc limit $8"#,
        tenant as _,
        endpoint as _,
        filter.status,
        filter.event_type,
        filter.run as Option<RunId>,
        after.map(|cursor| cursor.at),
        after.map_or_else(Uuid::nil, |cursor| cursor.id),
        page.limit() + 1,
    )
    .fetch_all(&mut **tx)
    .await?;
    let position = |row: &Delivery| Cursor { at: row.created_at, id: row.message_id.uuid() };
    Ok(Page::new(rows, page.limit(), position))
}

/// One of them, with what is sent.
pub(crate) async fn find(
    tx: &mut TenantTx,
    endpoint: WebhookEndpointId,
    message: MessageId,
) -> Result<(Delivery, String), Error> {
    let tenant = tx.tenant();
    let row = sqlx::query_as!(
        Delivery,
        r#"select message_id as "message_id: MessageId", event_type, run_id as "run_id: RunId", status, attempts,
                  next_attempt_at, status_code, response, error, occurred_at, created_at, ended_at
           from engine.webhook_delivery where tenant_id = $1 and endpoint_id = $2 and message_id = $3"#,
        tenant as _,
        endpoint as _,
        message as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    let row = row.ok_or(Error::WebhookDeliveryNotFound(message))?;
    let body = sqlx::query_scalar!(
        "select body from engine.webhook_delivery where tenant_id = $1 and endpoint_id = $2 and message_id = $3",
        tenant as _,
        endpoint as _,
        message as _,
    )
    .fetch_one(&mut **tx)
    .await?;
    Ok((row, body))
}

/// Its attempts, in order.
pub(crate) async fn attempts(
    tx: &mut TenantTx,
    endpoint: WebhookEndpointId,
    message: MessageId,
) -> Result<Vec<AttemptView>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        AttemptView,
        "select n, at, duration_ms, status_code, response, error from engine.webhook_attempt
         where tenant_id = $1 and endpoint_id = $2 and message_id = $3 order by n limit 1000",
        tenant as _,
        endpoint as _,
        message as _,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Asks for one again, whatever became of it, with the whole schedule before it.
pub(crate) async fn resend(
    tx: &mut TenantTx,
    endpoint: WebhookEndpointId,
    message: MessageId,
) -> Result<(), Error> {
    let tenant = tx.tenant();
    let done = sqlx::query!(
        "update engine.webhook_delivery
         set status = 'pending', next_attempt_at = now(), tries = 0, ended_at = null
         where tenant_id = $1 and endpoint_id = $2 and message_id = $3",
        tenant as _,
        endpoint as _,
        message as _,
    )
    .execute(&mut **tx)
    .await?;
    if done.rows_affected() == 0 { Err(Error::WebhookDeliveryNotFound(message)) } else { Ok(()) }
}

/// Asks again for everything since a moment that has not arrived and is not about to be sent; says how many.
pub(crate) async fn resend_since(
    tx: &mut TenantTx,
    endpoint: WebhookEndpointId,
    (since, until): (DateTime<Utc>, Option<DateTime<Utc>>),
) -> Result<u64, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.webhook_delivery
         set status = 'pending', next_attempt_at = now(), tries = 0, ended_at = null
         where tenant_id = $1 and endpoint_id = $2 and status in ('failed', 'skipped')
           and occurred_at >= $3 and ($4::timestamptz is null or occurred_at < $4)",
        tenant as _,
        endpoint as _,
        since,
        until,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected())
}
