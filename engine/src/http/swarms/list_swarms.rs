//! `GET /v1/swarms`

use axum::{Json, extract::State};
use dbutil::{Page, PageQuery};
use serde::Deserialize;
use servicekit::{Caller, Params, scope::AgentsRead};
use shared_models::{AgentStatus, ProblemBody, SwarmId, SwarmMode, UserId};

use crate::{
    app::App,
    error::Error,
    http::edge,
    store::{
        self,
        swarm::{Filter, Swarm},
    },
    visibility::Viewer,
};

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListSwarms {
    /// Exactly this name.
    name: Option<String>,
    status: Option<AgentStatus>,
    mode: Option<SwarmMode>,
    /// Acts in this person's name.
    owner: Option<UserId>,
    /// Stands right below this swarm.
    parent_swarm_id: Option<SwarmId>,
    /// Part of the name, the title or the description, in any case.
    q: Option<String>,
    /// How many at most: 1 to 100, 50 unless said.
    limit: Option<u32>,
    /// Where the last page ended (`next_cursor`).
    cursor: Option<String>,
}

/// The swarms you may see, newest first.
#[utoipa::path(get, path = "/v1/swarms", tag = "swarms", params(ListSwarms),
    security(("token" = ["agents:read"])),
    responses((status = 200, body = Page<Swarm>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_swarms(
    State(app): State<App>,
    caller: Caller<AgentsRead>,
    Params(asked): Params<ListSwarms>,
) -> Result<Json<Page<Swarm>>, Error> {
    edge::check_texts(&[("name", &asked.name), ("q", &asked.q)])?;
    let page = PageQuery { limit: asked.limit, cursor: asked.cursor };
    let filter = Filter {
        name: asked.name,
        status: asked.status,
        mode: asked.mode,
        owner: asked.owner,
        parent: asked.parent_swarm_id,
        q: asked.q,
    };
    let mut tx = app.db.begin(caller.tenant).await?;
    let swarms = store::swarm::list_page(&mut tx, &Viewer::of(&caller), &filter, &page).await?;
    Ok(Json(swarms))
}
