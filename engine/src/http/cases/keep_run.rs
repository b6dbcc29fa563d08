//! `POST /v1/runs/{run_id}/keep`

use agentcore::Message;
use anyhow::Context as _;
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use dbutil::TenantTx;
use serde::{Deserialize, Serialize};
use servicekit::{Body, Caller, Created, Once, Path, etag, scope::AgentsWrite};
use shared_models::{ProblemBody, RunId};
use utoipa::ToSchema;

use super::{check, make_room, visible};
use crate::app::App;
use crate::cases::expectation::Expectation;
use crate::cases::{self, CaseFields, MOST_EXPECTATIONS, Tools};
use crate::error::Error;
use crate::http::runs;
use crate::snapshot::RunSnapshot;
use crate::store::case::{self, Case};
use crate::store::run;
use crate::transcript;

/// What a run is kept as.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keep {
    /// Unique among the agent's cases.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// What is expected. Without it: that each tool is called with what it was called with.
    #[serde(default)]
    expectations: Option<Vec<Expectation>>,
    /// Whether tools answer as they did in the run, or are called.
    #[serde(default)]
    tools: Tools,
}

/// Keep a run that has ended as a test case of its agent.
///
/// The case has what the run was told, what was said before it, and what its tools answered. It is a copy: it stays when
/// the run is forgotten.
#[utoipa::path(post, path = "/v1/runs/{run_id}/keep", tag = "evaluations", request_body = Keep,
    params(("run_id" = RunId, Path), ("Idempotency-Key" = Option<String>, Header)),
    security(("token" = ["agents:write"])),
    responses((status = 201, body = Case), (status = "default", body = ProblemBody)))]
pub(crate) async fn keep_run(
    State(app): State<App>,
    caller: Caller<AgentsWrite>,
    mut once: Once,
    Path(run_id): Path<RunId>,
    Body(keep): Body<Keep>,
) -> Result<Response, Error> {
    let by = caller.person()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(stored) = once.begin(&mut tx, &caller, &(run_id, &keep)).await? {
        return Ok(stored);
    }
    let row = runs::visible(&mut tx, &caller, run_id).await?;
    if row.swarm_id.is_some() {
        return Err(Error::RunNotKeepable);
    }
    if !row.status().terminal() {
        return Err(Error::RunNotEnded);
    }
    visible(&mut tx, &caller, row.agent_id).await?;
    let fields = fields(&mut tx, &row, keep).await?;
    check(&fields)?;
    make_room(&mut tx, row.agent_id, &fields).await?;
    let case = case::insert(&mut tx, row.agent_id, by, &fields, Some(run_id)).await?;
    let case = case.shown(caller.payloads);
    once.remember(&mut tx, StatusCode::CREATED, &case).await?;
    tx.commit().await?;
    Ok(([(header::ETAG, etag(case.version))], Created(case)).into_response())
}

async fn fields(tx: &mut TenantTx, row: &run::Row, keep: Keep) -> Result<CaseFields, Error> {
    let (snapshot, told) = transcript::read(tx, row.run_id, row.root_run_id).await?;
    let said = told.messages();
    let said = said.get(snapshot.history.len()..).unwrap_or_default();
    let input = said.first().context("a run without input")?;
    Ok(CaseFields {
        name: keep.name,
        input: cases::input_of(input),
        expectations: keep.expectations.unwrap_or_else(|| as_it_was(said)),
        answers: cases::answers(said),
        tools: keep.tools,
        variables: snapshot.variables.clone(),
        history: before(snapshot),
    })
}

/// What the run knew of its conversation.
fn before(snapshot: RunSnapshot) -> Vec<Message> {
    let mut history = snapshot.history;
    if let Some(summary) = snapshot.recalled.and_then(|recalled| recalled.summary) {
        history.insert(0, Message::user(format!("Summary of what was said before:\n{summary}")));
    }
    history
}

/// Each call that was made, which is what the same agent would do again.
fn as_it_was(said: &[Message]) -> Vec<Expectation> {
    let mut expectations: Vec<Expectation> = Vec::new();
    for call in cases::calls(said) {
        let (tool, arguments) = (call.tool, Some(call.arguments));
        let expectation = Expectation::ToolCalled { tool, arguments, times: None };
        if expectations.len() < MOST_EXPECTATIONS && !expectations.contains(&expectation) {
            expectations.push(expectation);
        }
    }
    expectations
}
