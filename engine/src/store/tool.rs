//! Tools. Everybody in the tenant sees them, as there is no secret in them; their owner edits them.

use chrono::{DateTime, Utc};
use dbutil::{Cursor, OnConstraint as _, Page, PageQuery, TenantTx};
use serde::Serialize;
use shared_models::{AgentId, Effect, ToolId, UserId};
use sqlx::types::{Json, Uuid};
use utoipa::ToSchema;

use crate::{error::Error, tools::ToolFields};

/// A tool as it is now.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[allow(clippy::struct_field_names, reason = "the names on the wire")]
pub(crate) struct Tool {
    pub(crate) tool_id: ToolId,
    pub(crate) owner: UserId,
    /// Rises with each edit; the `ETag`.
    pub(crate) version: i32,
    /// What a repeat of a call does: as declared, or by the method.
    pub(crate) effect_in_force: Effect,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    pub(crate) created_at: DateTime<Utc>,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    pub(crate) updated_at: DateTime<Utc>,
    #[serde(flatten)]
    pub(crate) fields: ToolFields,
}

pub(crate) struct Row {
    pub(crate) tool_id: ToolId,
    pub(crate) owner: UserId,
    pub(crate) version: i32,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    pub(crate) fields: Json<ToolFields>,
}

impl From<Row> for Tool {
    fn from(row: Row) -> Self {
        Self {
            tool_id: row.tool_id,
            owner: row.owner,
            version: row.version,
            effect_in_force: row.fields.0.effect_in_force(),
            created_at: row.created_at,
            updated_at: row.updated_at,
            fields: row.fields.0,
        }
    }
}

/// Adds a tool; its name must be new within the tenant.
pub(crate) async fn insert(
    tx: &mut TenantTx,
    owner: UserId,
    fields: &ToolFields,
) -> Result<Tool, Error> {
    let (tool_id, tenant) = (ToolId::mint(), tx.tenant());
    sqlx::query!(
        "insert into engine.tool (tool_id, tenant_id, name, kind, owner_id, version, definition)
         values ($1, $2, $3, $4, $5, 1, $6)",
        tool_id as _,
        tenant as _,
        fields.name,
        fields.kind.as_str(),
        owner as _,
        Json(fields) as _,
    )
    .execute(&mut **tx)
    .await
    .on_constraint("tool_tenant_name_key", || Error::ToolNameTaken(fields.name.clone()))?;
    find(tx, tool_id).await
}

/// Replaces what can be edited.
pub(crate) async fn update(
    tx: &mut TenantTx,
    tool_id: ToolId,
    fields: &ToolFields,
) -> Result<Tool, Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.tool
         set name = $3, kind = $4, definition = $5, version = version + 1, updated_at = now()
         where tenant_id = $1 and tool_id = $2",
        tenant as _,
        tool_id as _,
        fields.name,
        fields.kind.as_str(),
        Json(fields) as _,
    )
    .execute(&mut **tx)
    .await
    .on_constraint("tool_tenant_name_key", || Error::ToolNameTaken(fields.name.clone()))?;
    find(tx, tool_id).await
}

pub(crate) async fn find(tx: &mut TenantTx, tool_id: ToolId) -> Result<Tool, Error> {
    let tenant = tx.tenant();
    let row = sqlx::query_as!(
        Row,
        r#"select tool_id as "tool_id: ToolId", owner_id as "owner: UserId", version, created_at, updated_at,
                  definition as "fields: Json<ToolFields>"
           from engine.tool where tenant_id = $1 and tool_id = $2"#,
        tenant as _,
        tool_id as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    row.map(Into::into).ok_or(Error::ToolNotFound(tool_id))
}

/// The same, held until the transaction ends.
pub(crate) async fn find_for_update(tx: &mut TenantTx, tool_id: ToolId) -> Result<Tool, Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "select tool_id from engine.tool where tenant_id = $1 and tool_id = $2 for update",
        tenant as _,
        tool_id as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    find(tx, tool_id).await
}

/// Keeps tools from being changed or taken away until the transaction ends; gives those that there are. Whoever holds several
/// takes them in this order, and holds them before what agents have of them.
pub(crate) async fn hold_all(
    tx: &mut TenantTx,
    tools: &[ToolId],
) -> Result<Vec<ToolId>, sqlx::Error> {
    let tenant = tx.tenant();
    let tools: Vec<Uuid> = tools.iter().map(|tool| tool.uuid()).collect();
    sqlx::query_scalar!(
        r#"select tool_id as "tool: ToolId" from engine.tool where tenant_id = $1 and tool_id = any ($2)
           order by tool_id for share"#,
        tenant as _,
        &tools,
    )
    .fetch_all(&mut **tx)
    .await
}

/// The tenant's tools, newest first; `q` is part of the name or description, in any case.
pub(crate) async fn list_page(
    tx: &mut TenantTx,
    name: Option<&str>,
    q: Option<&str>,
    page: &PageQuery,
) -> Result<Page<Tool>, Error> {
    let tenant = tx.tenant();
    let after = page.after().map_err(servicekit::Problem::from)?;
    let rows = sqlx::query_as!(
        Row,
        r#"select tool_id as "tool_id: ToolId", owner_id as "owner: UserId", version, created_at, updated_at,
                  definition as "fields: Json<ToolFields>"
           from engine.tool
           where tenant_id = $1
             and ($2::text is null or name = $2)
             and ($3::text is null or strpos(lower(name), lower($3)) > 0
                  or strpos(lower(definition ->> 'description'), lower($3)) > 0)
             and ($4::timestamptz is null or (created_at, tool_id) < ($4, $5))
           order by created_at desc, tool_id desc
           limit $6"#,
        tenant as _,
        name,
        q,
        after.map(|cursor| cursor.at),
        after.map_or_else(Uuid::nil, |cursor| cursor.id),
        page.limit() + 1,
    )
    .fetch_all(&mut **tx)
    .await?;
    let tools = rows.into_iter().map(Tool::from).collect();
    let position = |tool: &Tool| Cursor { at: tool.created_at, id: tool.tool_id.uuid() };
    Ok(Page::new(tools, page.limit(), position))
}

/// Takes a tool that the caller holds away, from every agent that has it. Running runs keep their snapshot. Gives the agents:
/// after the commit they are to be handed to [`crate::lost_tools::note`].
#[must_use = "the agents that have lost it get a version"]
pub(crate) async fn delete(
    tx: &mut TenantTx,
    tool_id: ToolId,
) -> Result<Vec<AgentId>, sqlx::Error> {
    let tenant = tx.tenant();
    let agents = sqlx::query_scalar!(
        r#"delete from engine.agent_tool where tenant_id = $1 and tool_id = $2
           returning agent_id as "agent: AgentId""#,
        tenant as _,
        tool_id as _,
    )
    .fetch_all(&mut **tx)
    .await?;
    sqlx::query!(
        "delete from engine.tool where tenant_id = $1 and tool_id = $2",
        tenant as _,
        tool_id as _
    )
    .execute(&mut **tx)
    .await?;
    Ok(agents)
}
