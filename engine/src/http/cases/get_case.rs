//! `GET /v1/agents/{agent_id}/cases/{case_id}`

use axum::extract::State;
use servicekit::{Caller, Path, Tagged, scope::AgentsRead};
use shared_models::{AgentId, CaseId, ProblemBody};

use super::visible;
use crate::app::App;
use crate::error::Error;
use crate::store::case::{self, Case};

/// See a test case.
#[utoipa::path(get, path = "/v1/agents/{agent_id}/cases/{case_id}", tag = "evaluations",
    params(("agent_id" = AgentId, Path), ("case_id" = CaseId, Path)),
    security(("token" = ["agents:read"])),
    responses((status = 200, body = Case), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_case(
    State(app): State<App>,
    caller: Caller<AgentsRead>,
    Path((agent_id, case_id)): Path<(AgentId, CaseId)>,
) -> Result<Tagged<Case>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    visible(&mut tx, &caller, agent_id).await?;
    let case = case::find(&mut tx, agent_id, case_id).await?;
    Ok(Tagged(case.version, case.shown(caller.payloads)))
}
