//! `GET /v1/tools/{tool_id}`

use axum::extract::State;
use servicekit::{Caller, Path, Tagged, scope::ToolsRead};
use shared_models::{ProblemBody, ToolId};

use crate::{
    app::App,
    error::Error,
    store::{self, tool::Tool},
};

/// One tool. Its `ETag` is its version.
#[utoipa::path(get, path = "/v1/tools/{tool_id}", tag = "tools",
    params(("tool_id" = ToolId, Path)),
    security(("token" = ["tools:read"])),
    responses((status = 200, body = Tool), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_tool(
    State(app): State<App>,
    caller: Caller<ToolsRead>,
    Path(tool_id): Path<ToolId>,
) -> Result<Tagged<Tool>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let tool = store::tool::find(&mut tx, tool_id).await?;
    Ok(Tagged(tool.version, tool))
}
