//! `DELETE /v1/tools/{tool_id}`

use axum::{extract::State, http::StatusCode};
use servicekit::{Caller, IfMatch, Path, scope::ToolsWrite};
use shared_models::{ProblemBody, ToolId, ToolKind};

use crate::{app::App, error::Error, lost_tools, store, visibility::Viewer};

/// Take a tool away, from every agent that has it; that makes a version of each of them. Runs under way keep it.
#[utoipa::path(delete, path = "/v1/tools/{tool_id}", tag = "tools",
    params(("tool_id" = ToolId, Path), ("If-Match" = Option<String>, Header)),
    security(("token" = ["tools:write"])),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub(crate) async fn delete_tool(
    State(app): State<App>,
    caller: Caller<ToolsWrite>,
    Path(tool_id): Path<ToolId>,
    if_match: IfMatch,
) -> Result<StatusCode, Error> {
    let by = caller.person()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let tool = store::tool::find_for_update(&mut tx, tool_id).await?;
    if !Viewer::of(&caller).owns(tool.owner) {
        return Err(Error::NotOwner("only its owner or an administrator deletes a tool".into()));
    }
    if_match.check(tool.version)?;
    if tool.fields.kind == ToolKind::Mcp {
        return Err(Error::ToolManaged);
    }
    let agents = store::tool::delete(&mut tx, tool_id).await?;
    tx.commit().await?;
    lost_tools::note(&app, caller.tenant, by, agents).await;
    Ok(StatusCode::NO_CONTENT)
}
