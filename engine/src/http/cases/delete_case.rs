//! `DELETE /v1/agents/{agent_id}/cases/{case_id}`

use axum::{extract::State, http::StatusCode};
use servicekit::{Caller, IfMatch, Path, scope::AgentsWrite};
use shared_models::{AgentId, CaseId, ProblemBody};

use super::visible;
use crate::app::App;
use crate::error::Error;
use crate::store::case;

/// Take a test case away. Evaluations that were asked for before still run it.
#[utoipa::path(delete, path = "/v1/agents/{agent_id}/cases/{case_id}", tag = "evaluations",
    params(("agent_id" = AgentId, Path), ("case_id" = CaseId, Path), ("If-Match" = Option<String>, Header)),
    security(("token" = ["agents:write"])),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub(crate) async fn delete_case(
    State(app): State<App>,
    caller: Caller<AgentsWrite>,
    Path((agent_id, case_id)): Path<(AgentId, CaseId)>,
    if_match: IfMatch,
) -> Result<StatusCode, Error> {
    caller.person()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    visible(&mut tx, &caller, agent_id).await?;
    let case = case::find_for_update(&mut tx, agent_id, case_id).await?;
    if_match.check(case.version)?;
    case::delete(&mut tx, case_id).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
