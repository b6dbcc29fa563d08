//! How long a tenant wants things kept, and who has said so.

use chrono::{DateTime, Utc};
use dbutil::{Cursor, Page, PageQuery, TenantTx};
use serde::{Deserialize, Serialize};
use shared_models::{ApiKeyId, UserId};
use sqlx::types::{Json, Uuid};
use utoipa::ToSchema;

use crate::error::Error;

/// Days that things are kept; null is as the platform does. A patch is merged into this form and read back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_field_names, reason = "the names on the wire")]
pub(crate) struct Days {
    /// What was said and done in a run, after it has ended.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 3650)]
    pub(crate) content_days: Option<i32>,
    /// That there was a run, how it ended and what it cost; at least as long as its content. Evaluations likewise.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 3650)]
    pub(crate) run_days: Option<i32>,
    /// A conversation, after something was last said in it.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 3650)]
    pub(crate) conversation_days: Option<i32>,
    /// What an agent was told to remember, about a person or at all, after it was last written.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 3650)]
    pub(crate) memory_days: Option<i32>,
    /// What was used, by day, agent and model.
    #[serde(default)]
    #[schema(minimum = 62, maximum = 3650)]
    pub(crate) usage_days: Option<i32>,
    /// What endpoints were told, and how they answered.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 400)]
    pub(crate) webhook_days: Option<i32>,
}

/// What a tenant has said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) days: Days,
    /// 0 as long as nobody has said anything.
    pub(crate) version: i32,
    pub(crate) updated_by: Option<UserId>,
    pub(crate) updated_at: Option<DateTime<Utc>>,
}

pub(crate) async fn find(tx: &mut TenantTx) -> Result<Row, sqlx::Error> {
    let tenant = tx.tenant();
    let row = sqlx::query!(
        r#"select content_days, run_days, conversation_days, memory_days, usage_days, webhook_days, version,
                  updated_by as "updated_by: UserId", updated_at
           from engine.retention where tenant_id = $1 and version > 0"#,
        tenant as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map_or_else(Row::default, |row| Row {
        days: Days {
            content_days: row.content_days,
            run_days: row.run_days,
            conversation_days: row.conversation_days,
            memory_days: row.memory_days,
            usage_days: row.usage_days,
            webhook_days: row.webhook_days,
        },
        version: row.version,
        updated_by: row.updated_by,
        updated_at: Some(row.updated_at),
    }))
}

/// The same, held until the transaction ends; also the first time.
pub(crate) async fn find_for_update(tx: &mut TenantTx) -> Result<Row, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into engine.retention as r (tenant_id) values ($1)
         on conflict (tenant_id) do update set version = r.version",
        tenant as _,
    )
    .execute(&mut **tx)
    .await?;
    find(tx).await
}

/// Replaces what the tenant has said, which is held, and writes down who did.
pub(crate) async fn update(
    tx: &mut TenantTx,
    before: &Row,
    after: &Days,
    (by, key): (UserId, Option<ApiKeyId>),
) -> Result<Row, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.retention
         set content_days = $2, run_days = $3, conversation_days = $4, memory_days = $5, usage_days = $6,
             webhook_days = $7, version = version + 1, updated_by = $8, updated_at = now()
         where tenant_id = $1",
        tenant as _,
        after.content_days,
        after.run_days,
        after.conversation_days,
        after.memory_days,
        after.usage_days,
        after.webhook_days,
        by as _,
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!(
        "insert into engine.retention_change (tenant_id, version, changed_by, key_id, before, after)
         values ($1, $2, $3, $4, $5, $6)",
        tenant as _,
        before.version + 1,
        by as _,
        key as Option<ApiKeyId>,
        Json(&before.days) as _,
        Json(after) as _,
    )
    .execute(&mut **tx)
    .await?;
    find(tx).await
}

/// One change of what a tenant wants.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RetentionChange {
    pub(crate) version: i32,
    pub(crate) changed_by: UserId,
    /// The API key by which they did.
    pub(crate) key_id: Option<ApiKeyId>,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    pub(crate) changed_at: DateTime<Utc>,
    #[schema(value_type = Days)]
    pub(crate) before: Json<Days>,
    #[schema(value_type = Days)]
    pub(crate) after: Json<Days>,
}

/// All changes, newest first.
pub(crate) async fn changes(
    tx: &mut TenantTx,
    page: &PageQuery,
) -> Result<Page<RetentionChange>, Error> {
    let tenant = tx.tenant();
    let after = page.after().map_err(servicekit::Problem::from)?;
    // The number of the version takes the place of the id: it alone says where a page ends.
    let rows = sqlx::query_as!(
        RetentionChange,
        r#"select version, changed_by as "changed_by: UserId", key_id as "key_id: ApiKeyId", changed_at,
                  before as "before: Json<Days>", after as "after: Json<Days>"
           from engine.retention_change
           where tenant_id = $1 and ($2::int is null or version < $2)
           order by version desc limit $3"#,
        tenant as _,
        after.map(|cursor| cursor.id.as_u128() as i32),
        page.limit() + 1,
    )
    .fetch_all(&mut **tx)
    .await?;
    let position = |change: &RetentionChange| Cursor {
        at: change.changed_at,
        id: Uuid::from_u128(change.version as u128),
    };
    Ok(Page::new(rows, page.limit(), position))
}
