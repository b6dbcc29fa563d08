//! `GET /v1/agents`

use axum::{Json, extract::State};
use dbutil::{Page, PageQuery};
use serde::Deserialize;
use servicekit::{Caller, Params, scope::AgentsRead};
use shared_models::{AgentScope, AgentStatus, AgentType, ProblemBody, TeamId, UserId};

use crate::{
    app::App,
    error::Error,
    store::{
        self,
        agent::{Agent, Filter},
    },
    visibility::Viewer,
};

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListAgents {
    /// Exactly this name.
    name: Option<String>,
    status: Option<AgentStatus>,
    scope: Option<AgentScope>,
    agent_type: Option<AgentType>,
    /// Has exactly this tag.
    tag: Option<String>,
    /// Acts in this person's name.
    owner: Option<UserId>,
    /// Is for this team.
    team: Option<TeamId>,
    /// Part of the name, the description or a tag, in any case.
    q: Option<String>,
    /// How many at most: 1 to 100, 50 unless said.
    limit: Option<u32>,
    /// Where the last page ended (`next_cursor`).
    cursor: Option<String>,
}

/// The agents you may see, newest first.
#[utoipa::path(get, path = "/v1/agents", tag = "agents", params(ListAgents),
    security(("token" = ["agents:read"])),
    responses((status = 200, body = Page<Agent>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_agents(
    State(app): State<App>,
    caller: Caller<AgentsRead>,
    Params(asked): Params<ListAgents>,
) -> Result<Json<Page<Agent>>, Error> {
    super::check_texts(&[("name", &asked.name), ("q", &asked.q), ("tag", &asked.tag)])?;
    let page = PageQuery { limit: asked.limit, cursor: asked.cursor };
    let filter = Filter {
        name: asked.name,
        status: asked.status,
        scope: asked.scope,
        agent_type: asked.agent_type,
        tag: asked.tag,
        owner: asked.owner,
        team: asked.team,
        q: asked.q,
    };
    let mut tx = app.db.begin(caller.tenant).await?;
    let agents = store::agent::list_page(&mut tx, &Viewer::of(&caller), &filter, &page).await?;
    Ok(Json(agents))
}
