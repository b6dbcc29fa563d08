//! Which agent has which tool, in which order, and with which credential.

use chrono::{DateTime, Utc};
use dbutil::TenantTx;
use serde::Serialize;
use serde_json::Value;
use servicekit::FieldError;
use shared_models::{AgentId, CredentialId, ToolId, UserId};
use sqlx::types::Json;
use utoipa::ToSchema;

use super::tool::Tool;
use crate::{
    error::Error,
    snapshot::SnapshotTool,
    tools::{ToolConfig, ToolFields},
};

/// How an agent has a tool.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Link {
    pub(crate) tool_id: ToolId,
    /// What the model calls.
    pub(crate) name: String,
    /// What the model reads.
    pub(crate) description: String,
    /// Lower comes first.
    pub(crate) priority: i32,
    /// Merged over the tool's own configuration.
    #[schema(value_type = Object)]
    pub(crate) config: Value,
    pub(crate) credential_id: Option<CredentialId>,
    /// The only hosts the credential goes to: those the tool had when it was attached.
    pub(crate) credential_hosts: Vec<String>,
    pub(crate) assigned_by: UserId,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    pub(crate) assigned_at: DateTime<Utc>,
    #[serde(skip)]
    pub(crate) overrides: Overrides,
    #[serde(skip)]
    pub(crate) tool_version: i32,
    #[serde(skip)]
    pub(crate) tool: ToolFields,
}

/// What an agent says otherwise about a tool.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
}

/// A link as it is written.
#[derive(Clone, Debug)]
pub(crate) struct NewLink {
    pub(crate) tool_id: ToolId,
    pub(crate) priority: i32,
    pub(crate) overrides: Overrides,
    pub(crate) config: Value,
    pub(crate) credential_id: Option<CredentialId>,
    pub(crate) credential_hosts: Vec<String>,
}

impl Link {
    /// The tool as the agent has it.
    pub(crate) fn resolved(&self) -> Result<SnapshotTool, Error> {
        let config = merged(&self.tool, &self.config)?;
        Ok(SnapshotTool {
            tool_id: self.tool_id,
            version: self.tool_version,
            name: self.name.clone(),
            description: self.description.clone(),
            parameters: self.tool.parameters.clone(),
            effect: config.effect(self.tool.effect),
            timeout_ms: self.tool.timeout_ms,
            kind: self.tool.kind,
            config: config.to_value(),
            credential_id: self.credential_id,
            credential_hosts: self.credential_hosts.clone(),
            approval: self.tool.approval.clone(),
            probe: self.tool.probe.clone(),
        })
    }
}

/// A tool as somebody has it who says nothing otherwise about it, and has no credential for it.
pub(crate) fn bare(tool: &Tool) -> Result<SnapshotTool, Error> {
    let config = merged(&tool.fields, &Value::Object(serde_json::Map::new()))?;
    Ok(SnapshotTool {
        tool_id: tool.tool_id,
        version: tool.version,
        name: tool.fields.name.clone(),
        description: tool.fields.description.clone(),
        parameters: tool.fields.parameters.clone(),
        effect: config.effect(tool.fields.effect),
        timeout_ms: tool.fields.timeout_ms,
        kind: tool.fields.kind,
        config: config.to_value(),
        credential_id: None,
        credential_hosts: Vec::new(),
        approval: tool.fields.approval.clone(),
        probe: tool.fields.probe.clone(),
    })
}

/// A tool's configuration with an agent's own merged in.
pub(crate) fn merged(tool: &ToolFields, own: &Value) -> Result<ToolConfig, Error> {
    let mut config = tool.config.clone();
    json_patch::merge(&mut config, own);
    ToolConfig::read(tool.kind, &config).map_err(|error| {
        let why = format!("does not fit the tool's configuration: {}", error.message);
        Error::Invalid(vec![FieldError::new("/config", why)])
    })
}

/// Gives an agent a tool, or changes how it has it.
pub(crate) async fn put(
    tx: &mut TenantTx,
    agent_id: AgentId,
    by: UserId,
    link: &NewLink,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into engine.agent_tool (agent_id, tool_id, tenant_id, priority, name, description, config,
                                        credential_id, credential_hosts, assigned_by)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         on conflict (agent_id, tool_id) do update
         set priority = excluded.priority, name = excluded.name, description = excluded.description,
             config = excluded.config, credential_id = excluded.credential_id,
             credential_hosts = excluded.credential_hosts, assigned_by = excluded.assigned_by,
             assigned_at = now()",
        agent_id as _,
        link.tool_id as _,
        tenant as _,
        link.priority,
        link.overrides.name,
        link.overrides.description,
        link.config,
        link.credential_id as Option<CredentialId>,
        &link.credential_hosts,
        by as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// An agent's tools, by priority and name.
pub(crate) async fn list(tx: &mut TenantTx, agent_id: AgentId) -> Result<Vec<Link>, sqlx::Error> {
    let tenant = tx.tenant();
    let rows = sqlx::query!(
        r#"select tool.tool_id as "tool_id: ToolId", tool.version, tool.definition as "fields: Json<ToolFields>",
                  link.priority, link.name, link.description, link.config,
                  link.credential_id as "credential_id: CredentialId", link.credential_hosts,
                  link.assigned_by as "assigned_by: UserId", link.assigned_at
           from engine.agent_tool link
           join engine.tool tool on tool.tool_id = link.tool_id and tool.tenant_id = link.tenant_id
           where link.tenant_id = $1 and link.agent_id = $2
           order by link.priority, coalesce(link.name, tool.name)"#,
        tenant as _,
        agent_id as _,
    )
    .fetch_all(&mut **tx)
    .await?;
    let links = rows.into_iter().map(|row| Link {
        tool_id: row.tool_id,
        name: row.name.clone().unwrap_or_else(|| row.fields.name.clone()),
        description: row.description.clone().unwrap_or_else(|| row.fields.description.clone()),
        priority: row.priority,
        config: row.config,
        credential_id: row.credential_id,
        credential_hosts: row.credential_hosts,
        assigned_by: row.assigned_by,
        assigned_at: row.assigned_at,
        overrides: Overrides { name: row.name, description: row.description },
        tool_version: row.version,
        tool: row.fields.0,
    });
    Ok(links.collect())
}

/// Takes a tool from an agent; says whether it had it.
pub(crate) async fn delete(
    tx: &mut TenantTx,
    agent_id: AgentId,
    tool_id: ToolId,
) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "delete from engine.agent_tool where tenant_id = $1 and agent_id = $2 and tool_id = $3",
        tenant as _,
        agent_id as _,
        tool_id as _,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected() > 0)
}

/// Whether a tool renamed to `name` would meet another of that name on an agent that has both.
pub(crate) async fn rename_clashes(
    tx: &mut TenantTx,
    tool_id: ToolId,
    name: &str,
) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"select exists (
               select from engine.agent_tool mine
               join engine.agent_tool other
                 on other.agent_id = mine.agent_id and other.tenant_id = mine.tenant_id
                and other.tool_id <> mine.tool_id
               where mine.tenant_id = $1 and mine.tool_id = $2 and mine.name is null and other.name = $3
           ) as "clashes!""#,
        tenant as _,
        tool_id as _,
        name,
    )
    .fetch_one(&mut **tx)
    .await
}
