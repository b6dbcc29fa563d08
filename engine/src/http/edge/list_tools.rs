//! `GET /v1/tools`

use axum::{Json, extract::State};
use dbutil::{Page, PageQuery};
use serde::Deserialize;
use servicekit::{Caller, Params, scope::ToolsRead};
use shared_models::ProblemBody;

use crate::{
    app::App,
    error::Error,
    store::{self, tool::Tool},
};

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListTools {
    /// Exactly this name.
    name: Option<String>,
    /// Part of the name or description, in any case.
    q: Option<String>,
    /// How many at most: 1 to 100, 50 unless said.
    limit: Option<u32>,
    /// Where the last page ended (`next_cursor`).
    cursor: Option<String>,
}

/// The tenant's tools, newest first.
#[utoipa::path(get, path = "/v1/tools", tag = "tools", params(ListTools),
    security(("token" = ["tools:read"])),
    responses((status = 200, body = Page<Tool>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_tools(
    State(app): State<App>,
    caller: Caller<ToolsRead>,
    Params(asked): Params<ListTools>,
) -> Result<Json<Page<Tool>>, Error> {
    super::check_texts(&[("name", &asked.name), ("q", &asked.q)])?;
    let page = PageQuery { limit: asked.limit, cursor: asked.cursor };
    let mut tx = app.db.begin(caller.tenant).await?;
    let (name, q) = (asked.name.as_deref(), asked.q.as_deref());
    Ok(Json(store::tool::list_page(&mut tx, name, q, &page).await?))
}
