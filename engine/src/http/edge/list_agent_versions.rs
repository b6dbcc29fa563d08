//! `GET /v1/agents/{agent_id}/versions` and one of them

use axum::{Json, extract::State};
use dbutil::{Page, PageQuery};
use serde::Deserialize;
use servicekit::{Caller, Params, Path, scope::AgentsRead};
use shared_models::{AgentId, ProblemBody};

use crate::{
    app::App,
    error::Error,
    store::{
        self,
        agent_version::{self, AgentVersion},
    },
    visibility::Viewer,
};

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListVersions {
    /// How many at most: 1 to 100, 50 unless said.
    limit: Option<u32>,
    /// Where the last page ended (`next_cursor`).
    cursor: Option<String>,
}

/// What an agent was, newest first: each edit, by whom and when.
#[utoipa::path(get, path = "/v1/agents/{agent_id}/versions", tag = "agents",
    params(("agent_id" = AgentId, Path), ListVersions),
    security(("token" = ["agents:read"])),
    responses((status = 200, body = Page<AgentVersion>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_agent_versions(
    State(app): State<App>,
    caller: Caller<AgentsRead>,
    Path(agent_id): Path<AgentId>,
    Params(asked): Params<ListVersions>,
) -> Result<Json<Page<AgentVersion>>, Error> {
    let page = PageQuery { limit: asked.limit, cursor: asked.cursor };
    let mut tx = app.db.begin(caller.tenant).await?;
    store::agent::find_visible(&mut tx, &Viewer::of(&caller), agent_id).await?;
    Ok(Json(agent_version::list_page(&mut tx, agent_id, &page).await?))
}

/// What an agent was in one version.
#[utoipa::path(get, path = "/v1/agents/{agent_id}/versions/{version}", tag = "agents",
    params(("agent_id" = AgentId, Path), ("version" = i32, Path)),
    security(("token" = ["agents:read"])),
    responses((status = 200, body = AgentVersion), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_agent_version(
    State(app): State<App>,
    caller: Caller<AgentsRead>,
    Path((agent_id, version)): Path<(AgentId, i32)>,
) -> Result<Json<AgentVersion>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    store::agent::find_visible(&mut tx, &Viewer::of(&caller), agent_id).await?;
    let found = agent_version::find(&mut tx, agent_id, version).await?;
    found.map(Json).ok_or(Error::VersionNotFound(version))
}
