//! `GET /v1/agents/{agent_id}/cases`

use axum::{Json, extract::State};
use dbutil::{Page, PageQuery};
use servicekit::{Caller, Params, Path, scope::AgentsRead};
use shared_models::{AgentId, ProblemBody};

use super::visible;
use crate::app::App;
use crate::error::Error;
use crate::store::case::{self, CaseSummary};

/// The agent's test cases, newest first. What is in a case is to be read at `GET /v1/agents/{agent_id}/cases/{case_id}`.
#[utoipa::path(get, path = "/v1/agents/{agent_id}/cases", tag = "evaluations",
    params(("agent_id" = AgentId, Path), PageQuery),
    security(("token" = ["agents:read"])),
    responses((status = 200, body = Page<CaseSummary>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_cases(
    State(app): State<App>,
    caller: Caller<AgentsRead>,
    Path(agent_id): Path<AgentId>,
    Params(page): Params<PageQuery>,
) -> Result<Json<Page<CaseSummary>>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    visible(&mut tx, &caller, agent_id).await?;
    Ok(Json(case::list_page(&mut tx, agent_id, &page).await?))
}
