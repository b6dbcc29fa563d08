//! From what a server lists to tools of the tenant.

use std::{collections::BTreeMap, time::Duration};

use dbutil::TenantTx;
use rmcp::model::Tool;
use serde::Serialize;
use serde_json::{Value, json};
use shared_models::{AgentId, Effect, McpServerId, TenantId, ToolKind};
use utoipa::ToSchema;

use super::{McpConfig, Session};
use crate::{
    app::App,
    error::Error,
    lost_tools,
    store::{
        self,
        mcp_server::{self, McpServer},
    },
    tools::{ToolConfig, ToolFields, openapi},
};

/// How long a refresh may take that nobody waits for.
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST_DESCRIPTION: usize = 2048;

/// What a refresh has changed.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(crate) struct Refreshed {
    /// Names of tools, as agents know them.
    created: Vec<String>,
    updated: Vec<String>,
    unchanged: Vec<String>,
    /// The server no longer lists them, or nobody wants them any more.
    deleted: Vec<String>,
    /// Why a tool that the server lists is none.
    skipped: BTreeMap<String, String>,
    /// Agents that had one of the deleted: see [`crate::lost_tools`].
    #[serde(skip)]
    pub(crate) lost: Vec<AgentId>,
}

/// Refreshes the tools over a connection that is there, because the server has said that they have changed.
pub(super) async fn again(app: &App, tenant: TenantId, server: McpServerId, session: &Session) {
    let refresh = async {
        let tools = session.tools().await.map_err(|why| anyhow::anyhow!(why))?;
        let mut tx = app.db.begin(tenant).await?;
        let server = mcp_server::find_for_update(&mut tx, server).await?;
        let refreshed = take(&mut tx, &server, session, &tools).await?;
        tx.commit().await?;
        lost_tools::note(app, tenant, server.owner, refreshed.lost).await;
        Ok::<_, Error>(())
    };
    match tokio::time::timeout(PATIENCE, refresh).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::info!(%error, "a server's changed tools were not read"),
        Err(_) => tracing::info!("a server's changed tools were not read in time"),
    }
}

/// Makes the tenant's tools what the server lists.
pub(crate) async fn take(
    tx: &mut TenantTx,
    server: &McpServer,
    session: &Session,
    tools: &[Tool],
) -> Result<Refreshed, Error> {
    let mut known: BTreeMap<String, _> = mcp_server::tools(tx, server.server_id)
        .await?
        .into_iter()
        .map(|t| (t.key.clone(), t))
        .collect();
    let mut refreshed = Refreshed::default();
    for tool in tools {
        let key = tool.name.to_string();
        if !is_wanted(server, &key) {
            continue;
        }
        let mut fields = match fields(server, tool).checked() {
            Ok(fields) => fields,
            Err(errors) => {
                let why: Vec<String> =
                    errors.iter().map(|e| format!("{}: {}", e.pointer, e.message)).collect();
                refreshed.skipped.insert(key, why.join("; "));
                continue;
            }
        };
        if let Some(old) = known.remove(&key) {
            fields.name.clone_from(&old.fields.name);
            if *old.fields == fields {
                refreshed.unchanged.push(fields.name);
            } else {
                store::tool::update(tx, old.tool_id, &fields).await?;
                refreshed.updated.push(fields.name);
            }
        } else {
            fields.name = free(tx, &fields.name).await?;
            mcp_server::insert_tool(tx, server, &key, &fields).await?;
            refreshed.created.push(fields.name);
        }
    }
    for (_, gone) in known {
        refreshed.lost.extend(store::tool::delete(tx, gone.tool_id).await?);
        refreshed.deleted.push(gone.fields.name.clone());
    }
    let (protocol, about) = session.server();
    mcp_server::refreshed(tx, server.server_id, &protocol, &about).await?;
    Ok(refreshed)
}

/// Makes the tenant's tools agree with what is now written down about the server, without asking it. Gives the agents that
/// have lost one.
pub(crate) async fn rewrite(tx: &mut TenantTx, server: &McpServer) -> Result<Vec<AgentId>, Error> {
    let mut lost = Vec::new();
    for tool in mcp_server::tools(tx, server.server_id).await? {
        let mut fields = tool.fields.0.clone();
        if !is_wanted(server, &tool.key) {
            lost.extend(store::tool::delete(tx, tool.tool_id).await?);
            continue;
        }
        let config = McpConfig {
            server_id: server.server_id,
            tool: tool.key,
            connection: server.fields.connection(),
        };
        fields.config = ToolConfig::Mcp(config).to_value();
        fields.timeout_ms = server.fields.timeout_ms;
        if !server.trusted {
            fields.effect = Some(Effect::Unsafe);
        }
        if fields != tool.fields.0 {
            store::tool::update(tx, tool.tool_id, &fields).await?;
        }
    }
    Ok(lost)
}

fn is_wanted(server: &McpServer, tool: &str) -> bool {
    let fields = &server.fields;
    let fits = |patterns: &[String]| patterns.iter().any(|pattern| openapi::fits(pattern, tool));
    (fields.include.is_empty() || fits(&fields.include)) && !fits(&fields.exclude)
}

fn fields(server: &McpServer, tool: &Tool) -> ToolFields {
    let described = tool.description.as_deref().or(tool.title.as_deref()).unwrap_or_default();
    let described = described.replace('\0', "");
    let cut = described.floor_char_boundary(LONGEST_DESCRIPTION);
    let config = McpConfig {
        server_id: server.server_id,
        tool: tool.name.to_string(),
        connection: server.fields.connection(),
    };
    ToolFields {
        name: openapi::shortened(&format!(
            "mcp__{}__{}",
            server.fields.name,
            openapi::clean(&tool.name)
        )),
        description: described.get(..cut).unwrap_or_default().to_owned(),
        kind: ToolKind::Mcp,
        parameters: parameters(tool),
        effect: Some(effect(server, tool)),
        timeout_ms: server.fields.timeout_ms,
        approval: None,
        probe: None,
        config: ToolConfig::Mcp(config).to_value(),
    }
}

/// Unsafe, unless an administrator believes the server.
fn effect(server: &McpServer, tool: &Tool) -> Effect {
    let hints = tool.annotations.as_ref().filter(|_| server.trusted);
    match hints {
        Some(hints) if hints.read_only_hint == Some(true) => Effect::Read,
        Some(hints) if hints.idempotent_hint == Some(true) => Effect::Idempotent,
        _ => Effect::Unsafe,
    }
}

fn parameters(tool: &Tool) -> Value {
    let mut schema = Value::Object((*tool.input_schema).clone());
    if let Some(fields) = schema.as_object_mut() {
        fields.entry("type").or_insert_with(|| json!("object"));
        fields.entry("properties").or_insert_with(|| json!({}));
        fields.remove("$schema");
    }
    schema
}

async fn free(tx: &mut TenantTx, wanted: &str) -> Result<String, Error> {
    let mut taken = std::collections::BTreeSet::new();
    loop {
        let name = openapi::numbered(wanted, |name| taken.contains(name));
        if store::tool_import::taken_names(tx, std::slice::from_ref(&name)).await?.is_empty() {
            return Ok(name);
        }
        taken.insert(name);
    }
}
