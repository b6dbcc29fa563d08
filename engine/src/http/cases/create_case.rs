//! `POST /v1/agents/{agent_id}/cases`

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use servicekit::{Body, Caller, Created, Once, Path, etag, scope::AgentsWrite};
use shared_models::{AgentId, ProblemBody};

use super::{check, make_room, visible};
use crate::app::App;
use crate::cases::CaseFields;
use crate::error::Error;
use crate::store::case::{self, Case};

/// Give an agent a test case: what it is told, what its tools answer, and what is expected of it.
///
/// A run that has been can be kept as one: `POST /v1/runs/{run_id}/keep`.
#[utoipa::path(post, path = "/v1/agents/{agent_id}/cases", tag = "evaluations",
    params(("agent_id" = AgentId, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body(content = CaseFields, example = json!({ "name": "refunds a broken cup", "input": "My cup arrived broken.",
        "answers": [{ "tool": "find_order", "arguments": { "item": "cup" }, "content": "{\"order\":7}" }],
        "expectations": [{ "kind": "tool_called", "tool": "refund", "arguments": { "order": 7 } },
            { "kind": "judged", "model": "openai:gpt-4o", "rubric": "Apologises once." }] })),
    security(("token" = ["agents:write"])),
    responses((status = 201, body = Case), (status = "default", body = ProblemBody)))]
pub(crate) async fn create_case(
    State(app): State<App>,
    caller: Caller<AgentsWrite>,
    mut once: Once,
    Path(agent_id): Path<AgentId>,
    Body(fields): Body<CaseFields>,
) -> Result<Response, Error> {
    let by = caller.person()?;
    check(&fields)?;
    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(stored) = once.begin(&mut tx, &caller, &(agent_id, &fields)).await? {
        return Ok(stored);
    }
    visible(&mut tx, &caller, agent_id).await?;
    make_room(&mut tx, agent_id, &fields).await?;
    let case = case::insert(&mut tx, agent_id, by, &fields, None).await?.shown(caller.payloads);
    once.remember(&mut tx, StatusCode::CREATED, &case).await?;
    tx.commit().await?;
    Ok(([(header::ETAG, etag(case.version))], Created(case)).into_response())
}
