//! `PUT` and `DELETE /v1/agents/{agent_id}/mcp-servers/{server_id}`

use axum::{Json, extract::State, http::StatusCode};
use dbutil::Page;
use serde::Deserialize;
use serde_json::json;
use servicekit::{Body, Caller, Path, scope::AgentsWrite};
use shared_models::{AgentId, McpServerId, ProblemBody};

use crate::{
    app::App,
    error::Error,
    store::{
        self,
        agent_tool::{Link, NewLink, Overrides},
        mcp_server,
    },
    visibility::Viewer,
};

/// How the agent has the tools of a server.
#[derive(Clone, Copy, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerAssignment {
    /// Lower comes first.
    #[serde(default)]
    priority: i32,
}

/// Give an agent all tools that an MCP server has now.
///
/// Those it has already stay as it has them. It all makes one version of the agent. Tools that the server gets later are
/// given by asking again.
#[utoipa::path(put, path = "/v1/agents/{agent_id}/mcp-servers/{server_id}", tag = "agents",
    params(("agent_id" = AgentId, Path), ("server_id" = McpServerId, Path)),
    request_body = ServerAssignment,
    security(("token" = ["agents:write"])),
    responses((status = 200, body = Page<Link>, description = "All tools of the agent."),
        (status = "default", body = ProblemBody)))]
pub(crate) async fn assign_mcp_server(
    State(app): State<App>,
    caller: Caller<AgentsWrite>,
    Path((agent_id, server_id)): Path<(AgentId, McpServerId)>,
    Body(asked): Body<ServerAssignment>,
) -> Result<Json<Page<Link>>, Error> {
    let by = caller.person()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let agent = store::agent::find_for_update(&mut tx, &Viewer::of(&caller), agent_id).await?;
    mcp_server::find_for_update(&mut tx, server_id).await?;
    let known = store::agent_tool::list(&mut tx, agent_id).await?;
    for tool in mcp_server::tools(&mut tx, server_id).await? {
        if known.iter().any(|link| link.tool_id == tool.tool_id) {
            continue;
        }
        if known.iter().any(|link| link.name == tool.fields.0.name) {
            return Err(Error::DuplicateToolName(tool.fields.0.name));
        }
        let link = NewLink {
            tool_id: tool.tool_id,
            priority: asked.priority,
            overrides: Overrides { name: None, description: None },
            config: json!({}),
            credential_id: None,
            credential_hosts: Vec::new(),
        };
        store::agent_tool::put(&mut tx, agent_id, by, &link).await?;
    }
    store::agent::tools_changed(&mut tx, &agent, by).await?;
    let items = store::agent_tool::list(&mut tx, agent_id).await?;
    tx.commit().await?;
    Ok(Json(Page { items, next_cursor: None }))
}

/// Take all tools of an MCP server from an agent. That makes one version of the agent; runs under way keep them.
#[utoipa::path(delete, path = "/v1/agents/{agent_id}/mcp-servers/{server_id}", tag = "agents",
    params(("agent_id" = AgentId, Path), ("server_id" = McpServerId, Path)),
    security(("token" = ["agents:write"])),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub(crate) async fn unassign_mcp_server(
    State(app): State<App>,
    caller: Caller<AgentsWrite>,
    Path((agent_id, server_id)): Path<(AgentId, McpServerId)>,
) -> Result<StatusCode, Error> {
    let by = caller.person()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let agent = store::agent::find_for_update(&mut tx, &Viewer::of(&caller), agent_id).await?;
    mcp_server::find_for_update(&mut tx, server_id).await?;
    for tool in mcp_server::tools(&mut tx, server_id).await? {
        store::agent_tool::delete(&mut tx, agent_id, tool.tool_id).await?;
    }
    store::agent::tools_changed(&mut tx, &agent, by).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
