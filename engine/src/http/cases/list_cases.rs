//! `GET /v1/agents/{agent_id}/cases`

use axum::{Json, extract::State};
use dbutil::{Page, PageQuery};
use servicekit::{Caller, Params, Path, scope::AgentsRead};
use shared_models::{AgentId, ProblemBody};

use super::visible;
use crate::app::App;
use crate::error::Error;
use crate::store::case::{self, Case};

/// The agent's test cases, newest first.
#[utoipa::path(get, path = "/v1/agents/{agent_id}/cases", tag = "evaluations",
    params(("agent_id" = AgentId, Path), PageQuery),
    security(("token" = ["agents:read"])),
    responses((status = 200, body = Page<Case>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_cases(
    State(app): State<App>,
    caller: Caller<AgentsRead>,
    Path(agent_id): Path<AgentId>,
    Params(page): Params<PageQuery>,
) -> Result<Json<Page<Case>>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    visible(&mut tx, &caller, agent_id).await?;
    let cases = case::list_page(&mut tx, agent_id, &page).await?;
    Ok(Json(cases.map(|case| case.shown(caller.payloads))))
}
