//! What a run starts with, and what resumes: the agent and its tools as they were at that moment.

use dbutil::TenantTx;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared_models::{
    AgentId, AgentScope, AgentStatus, CredentialId, Effect, TeamId, ToolId, ToolKind, UserId,
};

use crate::{
    definition::{AgentFields, Limits},
    error::Error,
    store,
};

/// Kept with the run, so every new field needs a default. Holds ids of credentials, never a secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunSnapshot {
    pub(crate) agent_id: AgentId,
    pub(crate) agent_version: i32,
    pub(crate) agent_name: String,
    pub(crate) owner: UserId,
    pub(crate) scope: AgentScope,
    pub(crate) team_id: Option<TeamId>,
    /// As it was; only active agents start runs.
    pub(crate) status: AgentStatus,
    /// With the persona in force before them.
    pub(crate) instructions: String,
    pub(crate) model: String,
    pub(crate) fallback_model: Option<String>,
    pub(crate) model_credential: Option<CredentialId>,
    pub(crate) temperature: f32,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) max_steps: u32,
    #[serde(default)]
    pub(crate) limits: Limits,
    /// What the answer must fit.
    #[serde(default)]
    pub(crate) output_schema: Option<Value>,
    /// By priority, then name.
    pub(crate) tools: Vec<SnapshotTool>,
}

/// A tool as one agent has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SnapshotTool {
    pub(crate) tool_id: ToolId,
    pub(crate) version: i32,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) parameters: Value,
    pub(crate) effect: Effect,
    pub(crate) timeout_ms: u32,
    pub(crate) kind: ToolKind,
    /// The tool's configuration with the agent's own merged in.
    pub(crate) config: Value,
    pub(crate) credential_id: Option<CredentialId>,
    /// The only hosts the credential goes to.
    #[serde(default)]
    pub(crate) credential_hosts: Vec<String>,
}

/// The agent as a run would start with it now, or in one of its versions; none when there is no such agent or version.
/// Tools, owner and status are always those of now.
pub(crate) async fn build(
    tx: &mut TenantTx,
    agent_id: AgentId,
    version: Option<i32>,
) -> Result<Option<RunSnapshot>, Error> {
    let Some(agent) = store::agent::find(tx, agent_id).await? else { return Ok(None) };
    let (version, fields) = match version {
        None => (agent.version, agent.fields.clone()),
        Some(version) => match store::agent_version::find(tx, agent_id, version).await? {
            Some(found) => (version, found.fields),
            None => return Ok(None),
        },
    };
    let links = store::agent_tool::list(tx, agent_id).await?;
    let tools = links.iter().map(store::agent_tool::Link::resolved).collect::<Result<_, _>>()?;
    let instructions = fields.prompt();
    let AgentFields { model, fallback_model, model_credential_id, output_schema, .. } = fields;
    Ok(Some(RunSnapshot {
        agent_id,
        agent_version: version,
        agent_name: agent.fields.name,
        owner: agent.owner,
        scope: agent.fields.scope,
        team_id: agent.fields.team_id,
        status: agent.fields.status,
        instructions,
        model,
        fallback_model,
        model_credential: model_credential_id,
        temperature: fields.temperature as f32,
        max_tokens: fields.max_tokens,
        max_steps: fields.max_steps,
        limits: fields.limits,
        output_schema,
        tools,
    }))
}
