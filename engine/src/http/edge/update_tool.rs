//! `PATCH /v1/tools/{tool_id}`

use axum::extract::State;
use serde_json::Value;
use servicekit::{Body, Caller, IfMatch, Path, Tagged, merge_patch, scope::ToolsWrite};
use shared_models::{ProblemBody, ToolId, ToolKind};

use crate::{
    app::App,
    error::Error,
    store::{self, tool::Tool},
    tools::ToolFields,
    visibility::Viewer,
};

/// Change a tool.
///
/// A JSON Merge Patch (RFC 7396). Runs under way keep the tool as it was. Credentials that agents have attached still go
/// only to the hosts the tool had then.
#[utoipa::path(patch, path = "/v1/tools/{tool_id}", tag = "tools",
    params(("tool_id" = ToolId, Path), ("If-Match" = Option<String>, Header)),
    request_body(content = Object, content_type = "application/merge-patch+json"),
    security(("token" = ["tools:write"])),
    responses((status = 200, body = Tool), (status = "default", body = ProblemBody)))]
pub(crate) async fn update_tool(
    State(app): State<App>,
    caller: Caller<ToolsWrite>,
    Path(tool_id): Path<ToolId>,
    if_match: IfMatch,
    Body(patch): Body<Value>,
) -> Result<Tagged<Tool>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let tool = store::tool::find_for_update(&mut tx, tool_id).await?;
    if !Viewer::of(&caller).owns(tool.owner) {
        return Err(Error::NotOwner("only its owner or an administrator changes a tool".into()));
    }
    if_match.check(tool.version)?;
    if tool.fields.kind == ToolKind::Mcp {
        return Err(Error::ToolManaged);
    }
    let fields: ToolFields = merge_patch(&tool.fields, &patch)?;
    let fields = fields.checked().map_err(Error::Invalid)?;
    if fields == tool.fields {
        return Ok(Tagged(tool.version, tool));
    }
    super::check_reach(&mut tx, &Viewer::of(&caller), &fields).await?;
    if store::agent_tool::rename_clashes(&mut tx, tool_id, &fields.name).await? {
        return Err(Error::DuplicateToolName(fields.name));
    }
    let tool = store::tool::update(&mut tx, tool_id, &fields).await?;
    tx.commit().await?;
    Ok(Tagged(tool.version, tool))
}
