//! `PATCH /v1/agents/{agent_id}/cases/{case_id}`

use axum::extract::State;
use serde_json::Value;
use servicekit::{Body, Caller, IfMatch, Path, Tagged, merge_patch, scope::AgentsWrite};
use shared_models::{AgentId, CaseId, ProblemBody};

use super::{check, keep_room, visible};
use crate::app::App;
use crate::cases::CaseFields;
use crate::error::Error;
use crate::store::agent;
use crate::store::case::{self, Case};

/// Change a test case.
///
/// A JSON Merge Patch (RFC 7396): a list is replaced as a whole. Evaluations that were asked for before go on with the case as
/// it was.
#[utoipa::path(patch, path = "/v1/agents/{agent_id}/cases/{case_id}", tag = "evaluations",
    params(("agent_id" = AgentId, Path), ("case_id" = CaseId, Path), ("If-Match" = Option<String>, Header)),
    request_body(content = Object, content_type = "application/merge-patch+json",
        example = json!({ "expectations": [{ "kind": "tool_not_called", "tool": "refund" }] })),
    security(("token" = ["agents:write"])),
    responses((status = 200, body = Case), (status = "default", body = ProblemBody)))]
pub(crate) async fn update_case(
    State(app): State<App>,
    caller: Caller<AgentsWrite>,
    Path((agent_id, case_id)): Path<(AgentId, CaseId)>,
    if_match: IfMatch,
    Body(patch): Body<Value>,
) -> Result<Tagged<Case>, Error> {
    caller.person()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    visible(&mut tx, &caller, agent_id).await?;
    agent::hold(&mut tx, agent_id).await?;
    let case = case::find_for_update(&mut tx, agent_id, case_id).await?;
    if_match.check(case.version)?;
    let fields: CaseFields = merge_patch(&case.fields, &patch)?;
    if fields == case.fields {
        return Ok(Tagged(case.version, case.shown(caller.payloads)));
    }
    check(&fields)?;
    keep_room(&mut tx, (agent_id, case_id), &fields).await?;
    let case = case::update(&mut tx, agent_id, case_id, &fields).await?;
    tx.commit().await?;
    Ok(Tagged(case.version, case.shown(caller.payloads)))
}
