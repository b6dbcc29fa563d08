//! What agents were: each edit, their tools included.
//!
//! A version keeps the rows of `agent_tool` as they are, with the tool's name beside them.

use chrono::{DateTime, Utc};
use dbutil::{Cursor, Page, PageQuery, TenantTx};
use serde::Serialize;
use serde_json::{Map, Value};
use shared_models::{AgentId, CredentialId, ToolId, UserId, VersionChange};
use sqlx::types::Json;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{definition::AgentFields, error::Error};

/// One version of an agent.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AgentVersion {
    pub(crate) agent_id: AgentId,
    pub(crate) version: i32,
    pub(crate) change: VersionChange,
    pub(crate) changed_by: UserId,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    pub(crate) changed_at: DateTime<Utc>,
    #[serde(flatten)]
    pub(crate) fields: AgentFields,
    /// How it had each tool: `tool_id`, `tool_name`, `priority`, `config`, `credential_id`, ….
    #[schema(value_type = Vec<Object>)]
    pub(crate) tools: Vec<Value>,
}

struct Row {
    version: i32,
    change: String,
    changed_by: UserId,
    changed_at: DateTime<Utc>,
    fields: Json<AgentFields>,
    tools: Json<Vec<Map<String, Value>>>,
}

impl Row {
    fn of(self, agent_id: AgentId) -> AgentVersion {
        AgentVersion {
            agent_id,
            version: self.version,
            change: self.change.parse().unwrap_or(VersionChange::Edited),
            changed_by: self.changed_by,
            changed_at: self.changed_at,
            fields: self.fields.0,
            tools: self.tools.0.into_iter().map(on_the_wire).collect(),
        }
    }
}

impl AgentVersion {
    /// The credentials it used, for its model and its tools.
    pub(crate) fn credentials(&self) -> Vec<CredentialId> {
        let of_tools =
            self.tools.iter().filter_map(|tool| tool["credential_id"].as_str()?.parse().ok());
        self.fields.model_credential_id.into_iter().chain(of_tools).collect()
    }
}

/// Ids as everywhere else outside the database.
fn on_the_wire(mut tool: Map<String, Value>) -> Value {
    let bare = |value: Option<&Value>| value?.as_str()?.parse::<Uuid>().ok();
    if let Some(id) = bare(tool.get("tool_id")) {
        tool.insert("tool_id".into(), ToolId::from(id).to_string().into());
    }
    if let Some(id) = bare(tool.get("credential_id")) {
        tool.insert("credential_id".into(), CredentialId::from(id).to_string().into());
    }
    Value::Object(tool)
}

/// Writes a version down, with the tools the agent has now.
pub(super) async fn insert(
    tx: &mut TenantTx,
    agent_id: AgentId,
    version: i32,
    by: UserId,
    fields: &AgentFields,
    change: VersionChange,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into engine.agent_version (agent_id, version, tenant_id, definition, changed_by, change, tools)
         values ($1, $2, $3, $4, $5, $6, engine.tools_of($3, $1))",
        agent_id as _,
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

/// Notes in a version which tools the agent has now.
pub(crate) async fn keep_tools(
    tx: &mut TenantTx,
    agent_id: AgentId,
    version: i32,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.agent_version set tools = engine.tools_of($1, $2)
         where tenant_id = $1 and agent_id = $2 and version = $3",
        tenant as _,
        agent_id as _,
        version,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Whether the agent has other tools now than in a version.
pub(super) async fn tools_differ(
    tx: &mut TenantTx,
    agent_id: AgentId,
    version: i32,
) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"select tools <> engine.tools_of($1, $2) as "differ!" from engine.agent_version
           where tenant_id = $1 and agent_id = $2 and version = $3"#,
        tenant as _,
        agent_id as _,
        version,
    )
    .fetch_one(&mut **tx)
    .await
}

/// Gives the agent the tools it had in a version, as far as there still are such tools.
pub(crate) async fn restore_tools(
    tx: &mut TenantTx,
    agent_id: AgentId,
    version: i32,
    by: UserId,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "delete from engine.agent_tool where tenant_id = $1 and agent_id = $2",
        tenant as _,
        agent_id as _,
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!(
        "insert into engine.agent_tool
         select link.*
         from engine.agent_version v, jsonb_array_elements(v.tools) as kept,
              jsonb_populate_record(null::engine.agent_tool, kept || jsonb_build_object(
                  'agent_id', v.agent_id, 'tenant_id', v.tenant_id, 'assigned_by', $4::uuid,
                  'assigned_at', now())) as link
         where v.tenant_id = $1 and v.agent_id = $2 and v.version = $3
           and exists (select from engine.tool t where t.tool_id = link.tool_id and t.tenant_id = $1)",
        tenant as _,
        agent_id as _,
        version,
        by.uuid(),
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// An agent's versions, newest first.
pub(crate) async fn list_page(
    tx: &mut TenantTx,
    agent_id: AgentId,
    page: &PageQuery,
) -> Result<Page<AgentVersion>, Error> {
    let tenant = tx.tenant();
    let after = page.after().map_err(servicekit::Problem::from)?;
    // The number of the version takes the place of the id: it alone says where a page ends.
    let rows = sqlx::query_as!(
        Row,
        r#"select version, change, changed_by as "changed_by: UserId", changed_at,
                  definition as "fields: Json<AgentFields>", tools as "tools: Json<Vec<Map<String, Value>>>"
           from engine.agent_version
           where tenant_id = $1 and agent_id = $2 and ($3::int is null or version < $3)
           order by version desc limit $4"#,
        tenant as _,
        agent_id as _,
        after.map(|cursor| cursor.id.as_u128() as i32),
        page.limit() + 1,
    )
    .fetch_all(&mut **tx)
    .await?;
    let versions = rows.into_iter().map(|row| row.of(agent_id));
    let position = |version: &AgentVersion| Cursor {
        at: version.changed_at,
        id: Uuid::from_u128(version.version as u128),
    };
    Ok(Page::new(versions.collect(), page.limit(), position))
}

/// One version of an agent.
pub(crate) async fn find(
    tx: &mut TenantTx,
    agent_id: AgentId,
    version: i32,
) -> Result<Option<AgentVersion>, sqlx::Error> {
    let tenant = tx.tenant();
    let row = sqlx::query_as!(
        Row,
        r#"select version, change, changed_by as "changed_by: UserId", changed_at,
                  definition as "fields: Json<AgentFields>", tools as "tools: Json<Vec<Map<String, Value>>>"
           from engine.agent_version
           where tenant_id = $1 and agent_id = $2 and version = $3"#,
        tenant as _,
        agent_id as _,
        version,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(|row| row.of(agent_id)))
}
