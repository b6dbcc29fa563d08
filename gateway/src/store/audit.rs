//! What administrators changed. Rows are added with the change and never altered.

use chrono::{DateTime, Utc};
use dbutil::{Cursor, TenantTx};
use serde::Serialize;
use serde_json::Value;
use shared_models::TenantId;
use uuid::Uuid;

use crate::{origin::Origin, wire_time};

/// One change.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Entry {
    pub(crate) id: Uuid,
    #[serde(serialize_with = "wire_time::time")]
    pub(crate) occurred_at: DateTime<Utc>,
    /// Who did it: a user's id, `platform` or `svc:<name>`.
    pub(crate) actor: String,
    /// What was done, such as `member.updated`.
    pub(crate) action: String,
    /// The id of what it was done to.
    pub(crate) subject: String,
    #[schema(value_type = Object)]
    pub(crate) detail: Value,
    /// The client's address.
    pub(crate) remote: Option<String>,
    pub(crate) request_id: Option<String>,
}

impl Entry {
    /// Where it stands in lists.
    pub(crate) fn position(&self) -> Cursor {
        Cursor { at: self.occurred_at, id: self.id }
    }
}

/// Which entries a list shows.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    pub(crate) actor: Option<String>,
    pub(crate) action: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) since: Option<DateTime<Utc>>,
    pub(crate) until: Option<DateTime<Utc>>,
    pub(crate) after: Option<Cursor>,
    pub(crate) limit: i64,
}

/// Who did what from where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct By<'a> {
    pub(crate) actor: &'a str,
    pub(crate) origin: &'a Origin,
}

/// Adds an entry about something of `tenant`.
pub(crate) async fn append(
    tx: &mut TenantTx,
    tenant: TenantId,
    by: By<'_>,
    action: &str,
    subject: impl std::fmt::Display,
    detail: &Value,
) -> Result<(), sqlx::Error> {
    let id = shared_models::EventId::mint().uuid();
    sqlx::query!(
        "insert into gateway.audit (audit_id, tenant_id, actor, action, subject, detail, remote, request_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        id,
        tenant as _,
        by.actor,
        action,
        subject.to_string(),
        detail,
        by.origin.remote,
        by.origin.request_id,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Entries, newest first, one more than the limit.
pub(crate) async fn list_page(
    tx: &mut TenantTx,
    filter: &Filter,
) -> Result<Vec<Entry>, sqlx::Error> {
    let tenant = tx.tenant();
    let (at, id) = filter.after.map(|cursor| (cursor.at, cursor.id)).unzip();
    sqlx::query_as!(
        Entry,
        r#"select audit_id as id, occurred_at, actor, action, subject, detail, remote, request_id
           from gateway.audit
           where tenant_id = $1
             and ($2::text is null or actor = $2)
             and ($3::text is null or action = $3)
             and ($4::text is null or subject = $4)
             and ($5::timestamptz is null or occurred_at >= $5)
             and ($6::timestamptz is null or occurred_at < $6)
             and ($7::timestamptz is null or (occurred_at, audit_id) < ($7, $8::uuid))
           order by occurred_at desc, audit_id desc limit $9"#,
        tenant as _,
        filter.actor,
        filter.action,
        filter.subject,
        filter.since,
        filter.until,
        at,
        id as Option<Uuid>,
        filter.limit + 1,
    )
    .fetch_all(&mut **tx)
    .await
}
