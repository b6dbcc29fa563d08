//! `/v1/mcp-servers`

use axum::{Json, extract::State, http::StatusCode, response::Response};
use dbutil::{Page, PageQuery};
use serde::Deserialize;
use serde_json::Value;
use servicekit::{
    Body, Caller, IfMatch, Once, Params, Path, Tagged, merge_patch,
    scope::{ToolsRead, ToolsWrite},
};
use shared_models::{McpServerId, ProblemBody};
use utoipa::ToSchema;

use crate::{
    app::App,
    error::Error,
    lost_tools,
    store::mcp_server::{self, McpServer},
    tools::mcp::{ServerFields, discover},
    visibility::Viewer,
};

/// The tenant's MCP servers, newest first.
#[utoipa::path(get, path = "/v1/mcp-servers", tag = "tools",
    params(("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    security(("token" = ["tools:read"])),
    responses((status = 200, body = Page<McpServer>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_mcp_servers(
    State(app): State<App>,
    caller: Caller<ToolsRead>,
    Params(page): Params<PageQuery>,
) -> Result<Json<Page<McpServer>>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    Ok(Json(mcp_server::list_page(&mut tx, &page).await?))
}

/// Add an MCP server.
///
/// Nothing is asked of it yet: refresh it to get its tools.
#[utoipa::path(post, path = "/v1/mcp-servers", tag = "tools", request_body = ServerFields,
    params(("Idempotency-Key" = Option<String>, Header)),
    security(("token" = ["tools:write"])),
    responses((status = 201, body = McpServer), (status = "default", body = ProblemBody)))]
pub(crate) async fn create_mcp_server(
    State(app): State<App>,
    caller: Caller<ToolsWrite>,
    mut once: Once,
    Body(fields): Body<ServerFields>,
) -> Result<Response, Error> {
    let owner = caller.person()?;
    fields.check(|program| app.mcp.allows(program)).map_err(Error::Invalid)?;
    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(stored) = once.begin(&mut tx, &caller, &fields).await? {
        return Ok(stored);
    }
    let server = mcp_server::insert(&mut tx, owner, &fields).await?;
    once.remember(&mut tx, super::CREATED, &server).await?;
    tx.commit().await?;
    Ok(super::created(server.version, server))
}

/// One MCP server. Its `ETag` is its version.
#[utoipa::path(get, path = "/v1/mcp-servers/{server_id}", tag = "tools",
    params(("server_id" = McpServerId, Path)),
    security(("token" = ["tools:read"])),
    responses((status = 200, body = McpServer), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_mcp_server(
    State(app): State<App>,
    caller: Caller<ToolsRead>,
    Path(id): Path<McpServerId>,
) -> Result<Tagged<McpServer>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let server = mcp_server::find(&mut tx, id).await?;
    Ok(Tagged(server.version, server))
}

/// Change an MCP server.
///
/// A JSON Merge Patch (RFC 7396). Its tools follow at once; runs under way keep them as they were. Where the server is
/// now is believed no more than any other: an administrator trusts it again.
#[utoipa::path(patch, path = "/v1/mcp-servers/{server_id}", tag = "tools",
    params(("server_id" = McpServerId, Path), ("If-Match" = Option<String>, Header)),
    request_body(content = Object, content_type = "application/merge-patch+json"),
    security(("token" = ["tools:write"])),
    responses((status = 200, body = McpServer), (status = "default", body = ProblemBody)))]
pub(crate) async fn update_mcp_server(
    State(app): State<App>,
    caller: Caller<ToolsWrite>,
    Path(id): Path<McpServerId>,
    if_match: IfMatch,
    Body(patch): Body<Value>,
) -> Result<Tagged<McpServer>, Error> {
    let by = caller.person()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let server = mcp_server::find_for_update(&mut tx, id).await?;
    owned(&caller, &server)?;
    if_match.check(server.version)?;
    let fields: ServerFields = merge_patch(&server.fields, &patch)?;
    fields.check(|program| app.mcp.allows(program)).map_err(Error::Invalid)?;
    if fields == server.fields {
        return Ok(Tagged(server.version, server));
    }
    let stays = fields.connection() == server.fields.connection();
    let trusted = server.trusted && stays;
    let server = mcp_server::update(&mut tx, id, &fields, trusted, None).await?;
    let lost = discover::rewrite(&mut tx, &server).await?;
    tx.commit().await?;
    lost_tools::note(&app, caller.tenant, by, lost).await;
    Ok(Tagged(server.version, server))
}

/// Take an MCP server away with its tools, from every agent that has them. Runs under way keep them.
#[utoipa::path(delete, path = "/v1/mcp-servers/{server_id}", tag = "tools",
    params(("server_id" = McpServerId, Path), ("If-Match" = Option<String>, Header)),
    security(("token" = ["tools:write"])),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub(crate) async fn delete_mcp_server(
    State(app): State<App>,
    caller: Caller<ToolsWrite>,
    Path(id): Path<McpServerId>,
    if_match: IfMatch,
) -> Result<StatusCode, Error> {
    let by = caller.person()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let server = mcp_server::find_for_update(&mut tx, id).await?;
    owned(&caller, &server)?;
    if_match.check(server.version)?;
    let lost = mcp_server::delete(&mut tx, id).await?;
    tx.commit().await?;
    lost_tools::note(&app, caller.tenant, by, lost).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether the server is believed.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trust {
    trusted: bool,
}

/// Believe what a server says about its tools, or no longer. For administrators.
///
/// The tools of a server that is believed are `read` or `idempotent` where it says so; all others are `unsafe`. Refresh
/// it afterwards for the tools to follow.
#[utoipa::path(put, path = "/v1/mcp-servers/{server_id}/trust", tag = "tools",
    params(("server_id" = McpServerId, Path)), request_body = Trust,
    security(("token" = ["tools:write"])),
    responses((status = 200, body = McpServer), (status = "default", body = ProblemBody)))]
pub(crate) async fn trust_mcp_server(
    State(app): State<App>,
    caller: Caller<ToolsWrite>,
    Path(id): Path<McpServerId>,
    Body(asked): Body<Trust>,
) -> Result<Tagged<McpServer>, Error> {
    let by = caller.person()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let server = mcp_server::find_for_update(&mut tx, id).await?;
    if !caller.is_admin() {
        return Err(Error::NotOwner(
            "only an administrator says which servers are believed".into(),
        ));
    }
    let server = mcp_server::update(&mut tx, id, &server.fields, asked.trusted, Some(by)).await?;
    let lost = discover::rewrite(&mut tx, &server).await?;
    tx.commit().await?;
    lost_tools::note(&app, caller.tenant, by, lost).await;
    Ok(Tagged(server.version, server))
}

pub(super) fn owned(caller: &Caller<ToolsWrite>, server: &McpServer) -> Result<(), Error> {
    if Viewer::of(caller).owns(server.owner) {
        return Ok(());
    }
    Err(Error::NotOwner("only its owner or an administrator changes a server".into()))
}
