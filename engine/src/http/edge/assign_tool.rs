//! `PUT` and `DELETE /v1/agents/{agent_id}/tools/{tool_id}`

use axum::{Json, extract::State, http::StatusCode};
use dbutil::TenantTx;
use serde::Deserialize;
use serde_json::{Value, json};
use servicekit::{Body, Caller, FieldError, Path, scope::AgentsWrite};
use shared_models::{AgentId, CredentialId, ProblemBody, ToolId};

use crate::{
    app::App,
    error::Error,
    grants,
    store::{
        self,
        agent::Agent,
        agent_tool::{Link, NewLink, Overrides, merged},
        tool::Tool,
    },
    tools,
    visibility::Viewer,
};

/// How the agent has the tool.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Assignment {
    /// Lower comes first.
    #[serde(default)]
    priority: i32,
    /// What the model calls, instead of the tool's own name.
    #[serde(default)]
    name: Option<String>,
    /// What the model reads, instead of the tool's own description.
    #[serde(default)]
    description: Option<String>,
    /// A merge patch over the tool's configuration.
    #[serde(default = "nothing")]
    #[schema(value_type = Object)]
    config: Value,
    /// A credential that you may use. From now on it goes to the hosts that the tool has now, and to no other.
    #[serde(default)]
    credential_id: Option<CredentialId>,
}

/// Give an agent a tool, or change how it has it. That makes a version of the agent.
#[utoipa::path(put, path = "/v1/agents/{agent_id}/tools/{tool_id}", tag = "agents",
    params(("agent_id" = AgentId, Path), ("tool_id" = ToolId, Path)),
    request_body = Assignment,
    security(("token" = ["agents:write"])),
    responses((status = 200, body = Link), (status = "default", body = ProblemBody)))]
pub(crate) async fn assign_tool(
    State(app): State<App>,
    caller: Caller<AgentsWrite>,
    Path((agent_id, tool_id)): Path<(AgentId, ToolId)>,
    Body(asked): Body<Assignment>,
) -> Result<Json<Link>, Error> {
    let by = caller.person()?;
    let viewer = Viewer::of(&caller);
    let mut tx = app.db.begin(caller.tenant).await?;
    let (mut agent, mut tool) = look(&mut tx, &viewer, agent_id, tool_id).await?;
    super::check_reach(&mut tx, &viewer, &tool.fields).await?;
    let mut link = link(&asked, &tool)?;
    if let Some(credential) = asked.credential_id {
        // No network call inside a transaction: look, ask, then look again.
        drop(tx);
        let (tenant, token) = (caller.tenant, caller.token());
        grants::ask(&app, tenant, token, agent_id, agent.owner, credential).await?;
        tx = app.db.begin(caller.tenant).await?;
        let version = tool.version;
        (agent, tool) = look(&mut tx, &viewer, agent_id, tool_id).await?;
        // The caller agreed to the hosts the tool had when they asked.
        if tool.version != version {
            return Err(Error::VersionChanged);
        }
        link = self::link(&asked, &tool)?;
    }
    let others = store::agent_tool::list(&mut tx, agent_id).await?;
    let name = asked.name.as_ref().unwrap_or(&tool.fields.name);
    if others.iter().any(|other| other.tool_id != tool_id && other.name == *name) {
        return Err(Error::DuplicateToolName(name.clone()));
    }
    store::agent_tool::put(&mut tx, agent_id, by, &link).await?;
    store::agent::tools_changed(&mut tx, &agent, by).await?;
    let links = store::agent_tool::list(&mut tx, agent_id).await?;
    tx.commit().await?;
    let link = links.into_iter().find(|link| link.tool_id == tool_id);
    link.map(Json).ok_or(Error::ToolNotAssigned(tool_id))
}

/// Take a tool from an agent. That makes a version of the agent; runs under way keep the tool.
#[utoipa::path(delete, path = "/v1/agents/{agent_id}/tools/{tool_id}", tag = "agents",
    params(("agent_id" = AgentId, Path), ("tool_id" = ToolId, Path)),
    security(("token" = ["agents:write"])),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub(crate) async fn unassign_tool(
    State(app): State<App>,
    caller: Caller<AgentsWrite>,
    Path((agent_id, tool_id)): Path<(AgentId, ToolId)>,
) -> Result<StatusCode, Error> {
    let by = caller.person()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let agent = store::agent::find_for_update(&mut tx, &Viewer::of(&caller), agent_id).await?;
    if !store::agent_tool::delete(&mut tx, agent_id, tool_id).await? {
        return Err(Error::ToolNotAssigned(tool_id));
    }
    store::agent::tools_changed(&mut tx, &agent, by).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Agent and tool, both held, so that no name changes meanwhile.
async fn look(
    tx: &mut TenantTx,
    viewer: &Viewer,
    agent_id: AgentId,
    tool_id: ToolId,
) -> Result<(Agent, Tool), Error> {
    let agent = store::agent::find_for_update(tx, viewer, agent_id).await?;
    Ok((agent, store::tool::find_for_update(tx, tool_id).await?))
}

fn link(asked: &Assignment, tool: &Tool) -> Result<NewLink, Error> {
    let mut errors = crate::definition::unstorable(&asked.config, "/config");
    let texts = json!({ "description": asked.description });
    errors.extend(crate::definition::unstorable(&texts, ""));
    if asked.name.as_deref().is_some_and(|name| !tools::is_tool_name(name)) {
        errors.push(FieldError::new("/name", "1 to 64 of A-Z, a-z, 0-9, `_` and `-`"));
    }
    let config = merged(&tool.fields, &asked.config)?;
    errors.extend(config.check(&tool.fields.parameters));
    if asked.credential_id.is_some() && config.credential().is_none() {
        errors.push(FieldError::new("/credential_id", "the tool has no place for a credential"));
    }
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    Ok(NewLink {
        tool_id: tool.tool_id,
        priority: asked.priority,
        overrides: Overrides { name: asked.name.clone(), description: asked.description.clone() },
        config: asked.config.clone(),
        credential_id: asked.credential_id,
        credential_hosts: asked.credential_id.map(|_| config.hosts()).unwrap_or_default(),
    })
}

fn nothing() -> Value {
    json!({})
}
