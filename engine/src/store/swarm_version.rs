//! What swarms were: each edit.

use chrono::{DateTime, Utc};
use dbutil::{Cursor, Page, PageQuery, TenantTx};
use serde::Serialize;
use shared_models::{SwarmId, UserId, VersionChange};
use sqlx::types::Json;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{error::Error, swarm::SwarmFields};

/// One version of a swarm.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SwarmVersion {
    pub(crate) swarm_id: SwarmId,
    pub(crate) version: i32,
    pub(crate) change: VersionChange,
    pub(crate) changed_by: UserId,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    pub(crate) changed_at: DateTime<Utc>,
    #[serde(flatten)]
    pub(crate) fields: SwarmFields,
}

struct Row {
    swarm_id: SwarmId,
    version: i32,
    change: String,
    changed_by: UserId,
    changed_at: DateTime<Utc>,
    fields: Json<SwarmFields>,
}

impl From<Row> for SwarmVersion {
    fn from(row: Row) -> Self {
        Self {
            swarm_id: row.swarm_id,
            version: row.version,
            change: row.change.parse().unwrap_or(VersionChange::Edited),
            changed_by: row.changed_by,
            changed_at: row.changed_at,
            fields: row.fields.0,
        }
    }
}

/// Writes a version down.
pub(super) async fn insert(
    tx: &mut TenantTx,
    swarm_id: SwarmId,
    (version, change): (i32, VersionChange),
    by: UserId,
    fields: &SwarmFields,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into engine.swarm_version (swarm_id, version, tenant_id, definition, changed_by, change)
         values ($1, $2, $3, $4, $5, $6)",
        swarm_id as _,
        version,
        tenant as _,
        Json(fields) as _,
        by as _,
        change.as_str(),
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// A swarm's versions, newest first.
pub(crate) async fn list_page(
    tx: &mut TenantTx,
    swarm_id: SwarmId,
    page: &PageQuery,
) -> Result<Page<SwarmVersion>, Error> {
    let tenant = tx.tenant();
    let after = page.after().map_err(servicekit::Problem::from)?;
    // The number of the version takes the place of the id: it alone says where a page ends.
    let rows = sqlx::query_as!(
        Row,
        r#"select swarm_id as "swarm_id: SwarmId", version, change, changed_by as "changed_by: UserId", changed_at,
                  definition as "fields: Json<SwarmFields>"
           from engine.swarm_version
           where tenant_id = $1 and swarm_id = $2 and ($3::int is null or version < $3)
           order by version desc limit $4"#,
        tenant as _,
        swarm_id as _,
        after.map(|cursor| cursor.id.as_u128() as i32),
        page.limit() + 1,
    )
    .fetch_all(&mut **tx)
    .await?;
    let versions = rows.into_iter().map(SwarmVersion::from).collect();
    let position = |version: &SwarmVersion| Cursor {
        at: version.changed_at,
        id: Uuid::from_u128(version.version as u128),
    };
    Ok(Page::new(versions, page.limit(), position))
}

/// One version of a swarm.
pub(crate) async fn find(
    tx: &mut TenantTx,
    swarm_id: SwarmId,
    version: i32,
) -> Result<Option<SwarmVersion>, sqlx::Error> {
    let tenant = tx.tenant();
    let row = sqlx::query_as!(
        Row,
        r#"select swarm_id as "swarm_id: SwarmId", version, change, changed_by as "changed_by: UserId", changed_at,
                  definition as "fields: Json<SwarmFields>"
           from engine.swarm_version
           where tenant_id = $1 and swarm_id = $2 and version = $3"#,
        tenant as _,
        swarm_id as _,
        version,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(Into::into))
}
