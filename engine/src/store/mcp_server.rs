//! MCP servers and the tools made of what they list. Everybody in the tenant sees them; their owner edits them.

use chrono::{DateTime, Utc};
use dbutil::{Cursor, OnConstraint as _, Page, PageQuery, TenantTx};
use serde::Serialize;
use serde_json::Value;
use shared_models::{AgentId, McpServerId, ToolId, UserId};
use sqlx::types::Json;
use utoipa::ToSchema;

use crate::{
    error::Error,
    store::tool,
    tools::{ToolFields, mcp::ServerFields},
};

/// A server as it is now.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[allow(clippy::struct_field_names, reason = "the names on the wire")]
pub(crate) struct McpServer {
    pub(crate) server_id: McpServerId,
    pub(crate) owner: UserId,
    /// Rises with each edit; the `ETag`.
    pub(crate) version: i32,
    /// Whether an administrator believes what the server says about its tools: that one only reads, or may be repeated.
    pub(crate) trusted: bool,
    /// The revision of the protocol that the last refresh agreed on.
    pub(crate) protocol: Option<String>,
    /// What the server called itself then.
    #[schema(value_type = Option<Object>)]
    pub(crate) server_info: Option<Value>,
    #[serde(serialize_with = "shared_models::wire_time::maybe")]
    pub(crate) refreshed_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    pub(crate) created_at: DateTime<Utc>,
    #[serde(flatten)]
    #[schema(inline)]
    pub(crate) fields: ServerFields,
}

struct Row {
    server_id: McpServerId,
    owner: UserId,
    version: i32,
    trusted: bool,
    protocol: Option<String>,
    server_info: Option<Value>,
    refreshed_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    fields: Json<ServerFields>,
}

impl From<Row> for McpServer {
    fn from(row: Row) -> Self {
        Self {
            server_id: row.server_id,
            owner: row.owner,
            version: row.version,
            trusted: row.trusted,
            protocol: row.protocol,
            server_info: row.server_info,
            refreshed_at: row.refreshed_at,
            created_at: row.created_at,
            fields: row.fields.0,
        }
    }
}

/// A tool of a server, under the name the server gives it.
#[derive(Clone, Debug)]
pub(crate) struct ServerTool {
    pub(crate) tool_id: ToolId,
    pub(crate) key: String,
    pub(crate) fields: Json<ToolFields>,
}

/// Adds a server; its name must be new within the tenant.
pub(crate) async fn insert(
    tx: &mut TenantTx,
    owner: UserId,
    fields: &ServerFields,
) -> Result<McpServer, Error> {
    let (id, tenant) = (McpServerId::mint(), tx.tenant());
    sqlx::query!(
        "insert into engine.mcp_server (server_id, tenant_id, name, owner_id, version, definition)
         values ($1, $2, $3, $4, 1, $5)",
        id as _,
        tenant as _,
        fields.name,
        owner as _,
        Json(fields) as _,
    )
    .execute(&mut **tx)
    .await
    .on_constraint("mcp_server_tenant_name_key", || Error::ServerNameTaken(fields.name.clone()))?;
    find(tx, id).await
}

/// Replaces what can be edited, and whether the server is believed; `by` is who says so, if anybody has just said it.
pub(crate) async fn update(
    tx: &mut TenantTx,
    id: McpServerId,
    fields: &ServerFields,
    trusted: bool,
    by: Option<UserId>,
) -> Result<McpServer, Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.mcp_server
         set name = $3, definition = $4, trusted = $5,
             trusted_by = case when $5 then coalesce($6, trusted_by) end,
             version = version + 1, updated_at = now()
         where tenant_id = $1 and server_id = $2",
        tenant as _,
        id as _,
        fields.name,
        Json(fields) as _,
        trusted,
        by as _,
    )
    .execute(&mut **tx)
    .await
    .on_constraint("mcp_server_tenant_name_key", || Error::ServerNameTaken(fields.name.clone()))?;
    find(tx, id).await
}

pub(crate) async fn find(tx: &mut TenantTx, id: McpServerId) -> Result<McpServer, Error> {
    let tenant = tx.tenant();
    let row = sqlx::query_as!(
        Row,
        r#"select server_id as "server_id: McpServerId", owner_id as "owner: UserId", version, trusted, protocol,
                  server_info, refreshed_at, created_at, definition as "fields: Json<ServerFields>"
           from engine.mcp_server where tenant_id = $1 and server_id = $2"#,
        tenant as _,
        id as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    row.map(Into::into).ok_or(Error::ServerNotFound(id))
}

/// The same, held until the transaction ends.
pub(crate) async fn find_for_update(
    tx: &mut TenantTx,
    id: McpServerId,
) -> Result<McpServer, Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "select server_id from engine.mcp_server where tenant_id = $1 and server_id = $2 for update",
        tenant as _,
        id as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    find(tx, id).await
}

/// The tenant's servers, newest first.
pub(crate) async fn list_page(
    tx: &mut TenantTx,
    page: &PageQuery,
) -> Result<Page<McpServer>, Error> {
    let tenant = tx.tenant();
    let after = page.after().map_err(servicekit::Problem::from)?;
    let rows = sqlx::query_as!(
        Row,
        r#"select server_id as "server_id: McpServerId", owner_id as "owner: UserId", version, trusted, protocol,
                  server_info, refreshed_at, created_at, definition as "fields: Json<ServerFields>"
           from engine.mcp_server
           where tenant_id = $1 and ($2::timestamptz is null or (created_at, server_id) < ($2, $3))
           order by created_at desc, server_id desc limit $4"#,
        tenant as _,
        after.map(|cursor| cursor.at),
        after.map_or_else(uuid::Uuid::nil, |cursor| cursor.id),
        page.limit() + 1,
    )
    .fetch_all(&mut **tx)
    .await?;
    let servers = rows.into_iter().map(McpServer::from).collect();
    let position =
        |server: &McpServer| Cursor { at: server.created_at, id: server.server_id.uuid() };
    Ok(Page::new(servers, page.limit(), position))
}

/// Notes what a refresh has learnt.
pub(crate) async fn refreshed(
    tx: &mut TenantTx,
    id: McpServerId,
    protocol: &str,
    about: &Value,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.mcp_server set protocol = $3, server_info = $4, refreshed_at = now()
         where tenant_id = $1 and server_id = $2",
        tenant as _,
        id as _,
        protocol,
        about,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// The tools made of what a server lists, held until the transaction ends: see [`tool::hold_all`].
pub(crate) async fn tools(
    tx: &mut TenantTx,
    id: McpServerId,
) -> Result<Vec<ServerTool>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        ServerTool,
        r#"select tool_id as "tool_id: ToolId", origin_key as "key!", definition as "fields: Json<ToolFields>"
           from engine.tool where tenant_id = $1 and server_id = $2 order by tool_id for update"#,
        tenant as _,
        id as _,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Adds a tool of a server.
pub(crate) async fn insert_tool(
    tx: &mut TenantTx,
    server: &McpServer,
    key: &str,
    fields: &ToolFields,
) -> Result<(), Error> {
    let tenant = tx.tenant();
    let made = tool::insert(tx, server.owner, fields).await?;
    sqlx::query!(
        "update engine.tool set server_id = $3, origin_key = $4 where tenant_id = $1 and tool_id = $2",
        tenant as _,
        made.tool_id as _,
        server.server_id as _,
        key,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Takes a server away with its tools, from every agent that has them. Gives the agents, as [`tool::delete`] does.
#[must_use = "the agents that have lost its tools get a version"]
pub(crate) async fn delete(
    tx: &mut TenantTx,
    id: McpServerId,
) -> Result<Vec<AgentId>, sqlx::Error> {
    let tenant = tx.tenant();
    let mut agents = Vec::new();
    for made in tools(tx, id).await? {
        agents.extend(tool::delete(tx, made.tool_id).await?);
    }
    sqlx::query!(
        "delete from engine.mcp_server where tenant_id = $1 and server_id = $2",
        tenant as _,
        id as _,
    )
    .execute(&mut **tx)
    .await?;
    Ok(agents)
}
