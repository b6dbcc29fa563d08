//! `POST /v1/mcp-servers/{server_id}/refresh`

use std::time::Duration;

use axum::{Json, body::Bytes, extract::State};
use serde::Deserialize;
use servicekit::{
    Caller, FieldError, Path, egress::Injection, extract::from_slice, scope::ToolsWrite,
};
use shared_models::{AgentId, CredentialId, McpServerId, ProblemBody, RunId};
use utoipa::ToSchema;

use crate::{
    app::App,
    clients::credsvc::Wants,
    error::Error,
    grants, lost_tools,
    store::{
        self,
        mcp_server::{self, McpServer},
    },
    toolbox::Unready,
    tools::mcp::{
        self,
        discover::{self, Refreshed},
    },
    visibility::Viewer,
};

/// How long a server may take to tell which tools it has.
const PATIENCE: Duration = Duration::from_secs(30);

/// With which credential the server is asked.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefreshServer {
    /// An agent of yours: the server is asked in its name.
    #[serde(default)]
    agent_id: Option<AgentId>,
    /// A credential that you may use; the agent is granted it.
    #[serde(default)]
    credential_id: Option<CredentialId>,
}

/// Ask an MCP server for its tools.
///
/// Each tool that it lists, and that is wanted, becomes a tool of the tenant; tools that it no longer lists go. A server
/// that lists only to those with a credential is asked with that of an agent.
#[utoipa::path(post, path = "/v1/mcp-servers/{server_id}/refresh", tag = "tools",
    params(("server_id" = McpServerId, Path)), request_body = Option<RefreshServer>,
    security(("token" = ["tools:write"])),
    responses((status = 200, body = Refreshed), (status = "default", body = ProblemBody)))]
pub(crate) async fn refresh_mcp_server(
    State(app): State<App>,
    caller: Caller<ToolsWrite>,
    Path(id): Path<McpServerId>,
    body: Bytes,
) -> Result<Json<Refreshed>, Error> {
    let asked = if body.is_empty() { RefreshServer::default() } else { from_slice(&body)? };
    let mut tx = app.db.begin(caller.tenant).await?;
    let server = mcp_server::find(&mut tx, id).await?;
    super::mcp_servers::owned(&caller, &server)?;
    drop(tx);
    let injection = injection(&app, &caller, &server, asked).await?;
    let listing = async {
        let connection = server.fields.connection();
        let session = app.mcp.connect(&app.egress, &connection, injection).await?;
        let tools = session.tools().await?;
        Ok((session, tools))
    };
    let listed = tokio::time::timeout(PATIENCE, listing).await;
    let listed: Result<_, String> =
        listed.unwrap_or_else(|_| Err("the server did not answer in time".into()));
    let (session, tools) = listed.map_err(Error::ServerUnreachable)?;

    let mut tx = app.db.begin(caller.tenant).await?;
    // It may have been changed while it was asked.
    let now = mcp_server::find_for_update(&mut tx, id).await?;
    if now.version != server.version {
        return Err(Error::VersionChanged);
    }
    let mut refreshed = discover::take(&mut tx, &now, &session, &tools).await?;
    tx.commit().await?;
    let lost = std::mem::take(&mut refreshed.lost);
    lost_tools::note(&app, caller.tenant, now.owner, lost).await;
    Ok(Json(refreshed))
}

async fn injection(
    app: &App,
    caller: &Caller<ToolsWrite>,
    server: &McpServer,
    asked: RefreshServer,
) -> Result<Option<Injection>, Error> {
    let (agent_id, credential) = match (asked.agent_id, asked.credential_id) {
        (None, None) => return Ok(None),
        (Some(agent), Some(credential)) => (agent, credential),
        _ => return Err(refused("/agent_id", "an agent and a credential go together")),
    };
    let Some(place) = &server.fields.credential else {
        return Err(refused("/credential_id", "the server has no place for a credential"));
    };
    let mut tx = app.db.begin(caller.tenant).await?;
    let agent = store::agent::find_visible(&mut tx, &Viewer::of(caller), agent_id).await?;
    drop(tx);
    let (tenant, token) = (caller.tenant, caller.token());
    grants::ask(app, tenant, token, agent_id, agent.owner, credential).await?;
    let wants = Wants {
        tenant: caller.tenant,
        // No run asks; the audit names the purpose.
        run: RunId::mint(),
        agent: agent_id,
        owner: agent.owner,
        credential,
    };
    let purpose = format!("refresh of {}", server.fields.name);
    let hosts = server.fields.connection().hosts();
    let injection = mcp::injection(app, &wants, place, &purpose, &hosts, PATIENCE).await;
    injection.map(Some).map_err(|why| match why {
        Unready::Refused(why) => Error::CredentialRefused(why),
        Unready::Needs(needed) => Error::NeedsReconnect(needed),
    })
}

fn refused(pointer: &str, why: &str) -> Error {
    Error::Invalid(vec![FieldError::new(pointer, why)])
}
