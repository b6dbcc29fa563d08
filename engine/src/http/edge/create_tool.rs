//! `POST /v1/tools`

use axum::{extract::State, response::Response};
use servicekit::{Body, Caller, FieldError, Once, scope::ToolsWrite};
use shared_models::{ProblemBody, ToolKind};

use crate::{
    app::App,
    error::Error,
    store::{self, tool::Tool},
    tools::ToolFields,
    visibility::Viewer,
};

/// Make a tool.
///
/// Everybody in the tenant may give it to their agents; you edit it.
#[utoipa::path(post, path = "/v1/tools", tag = "tools", request_body = ToolFields,
    params(("Idempotency-Key" = Option<String>, Header)),
    security(("token" = ["tools:write"])),
    responses((status = 201, body = Tool), (status = "default", body = ProblemBody)))]
pub(crate) async fn create_tool(
    State(app): State<App>,
    caller: Caller<ToolsWrite>,
    mut once: Once,
    Body(fields): Body<ToolFields>,
) -> Result<Response, Error> {
    let owner = caller.person()?;
    if fields.kind == ToolKind::Mcp {
        let why = "made by a refresh of its MCP server, never by hand";
        return Err(Error::Invalid(vec![FieldError::new("/kind", why)]));
    }
    let fields = fields.checked().map_err(Error::Invalid)?;
    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(stored) = once.begin(&mut tx, &caller, &fields).await? {
        return Ok(stored);
    }
    super::check_reach(&mut tx, &Viewer::of(&caller), &fields).await?;
    let tool = store::tool::insert(&mut tx, owner, &fields).await?;
    once.remember(&mut tx, super::CREATED, &tool).await?;
    tx.commit().await?;
    Ok(super::created(tool.version, tool))
}
