//! `POST /v1/agents/{agent_id}/evaluate`

use anyhow::Context as _;
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use servicekit::{Body, Caller, Created, FieldError, Once, Path, scope::RunsWrite};
use shared_models::{AgentId, AgentStatus, CaseId, EvaluationId, EvaluationMode, ProblemBody};
use utoipa::ToSchema;

use crate::app::App;
use crate::error::Error;
use crate::http::cases;
use crate::store::evaluation::{self, Evaluation, New};
use crate::store::{agent_version, evaluation_result};

/// How an agent is tried.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Evaluate {
    /// Which version; the present one unless said.
    #[serde(default)]
    version: Option<i32>,
    /// These of its cases; all unless said.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 200)]
    cases: Option<Vec<CaseId>>,
    /// Where tools have their answers from.
    #[serde(default = "as_saved")]
    mode: EvaluationMode,
    /// How many cases are run at once. The models that judge one of them, 8 at most, are asked at the same time.
    #[serde(default = "four")]
    #[schema(minimum = 1, maximum = 16)]
    concurrency: i32,
    /// How long each case, and each judge, may take, and how long a case is tried again that cannot be begun or judged: ten
    /// minutes unless said.
    #[serde(default = "ten_minutes")]
    #[schema(minimum = 1, maximum = 86_400)]
    deadline_seconds: i32,
}

fn as_saved() -> EvaluationMode {
    EvaluationMode::AsSaved
}

fn four() -> i32 {
    4
}

fn ten_minutes() -> i32 {
    600
}

impl Evaluate {
    fn check(&self) -> Result<(), Error> {
        let mut errors = Vec::new();
        if self.cases.as_ref().is_some_and(|cases| !(1..=200).contains(&cases.len())) {
            errors.push(FieldError::new("/cases", "1 to 200 of the agent's cases"));
        }
        if !(1..=16).contains(&self.concurrency) {
            errors.push(FieldError::new("/concurrency", "from 1 to 16"));
        }
        if !(1..=86_400).contains(&self.deadline_seconds) {
            errors.push(FieldError::new("/deadline_seconds", "from 1 second to a day"));
        }
        if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
    }
}

/// Try a version of an agent with its test cases.
///
/// Every case is a run of its own, marked with the evaluation. Tools answer from the case, unless it says `live`; a call that
/// the case has no answer for is not made. When a case's run has ended, each thing that is expected is looked at; what a
/// model is to judge is asked in a run, too. Follow it at `GET /v1/evaluations/{evaluation_id}`.
#[utoipa::path(post, path = "/v1/agents/{agent_id}/evaluate", tag = "evaluations", request_body = Evaluate,
    params(("agent_id" = AgentId, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    security(("token" = ["runs:write"])),
    responses((status = 201, body = Evaluation), (status = "default", body = ProblemBody)))]
pub(crate) async fn evaluate_agent(
    State(app): State<App>,
    caller: Caller<RunsWrite>,
    mut once: Once,
    Path(agent_id): Path<AgentId>,
    Body(asked): Body<Evaluate>,
) -> Result<Response, Error> {
    let initiator = caller.person()?;
    asked.check()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(stored) = once.begin(&mut tx, &caller, &(agent_id, &asked)).await? {
        return Ok(stored);
    }
    let agent = cases::visible(&mut tx, &caller, agent_id).await?;
    if agent.fields.status != AgentStatus::Active {
        return Err(Error::AgentNotActive(agent.fields.status.to_string()));
    }
    let agent_version = asked.version.unwrap_or(agent.version);
    if agent_version != agent.version {
        let found = agent_version::find(&mut tx, agent_id, agent_version).await?;
        found.ok_or(Error::VersionNotFound(agent_version))?;
    }
    evaluation::make_room(&mut tx).await?;
    let new = New {
        agent: agent_id,
        agent_name: &agent.fields.name,
        agent_version,
        mode: asked.mode,
        concurrency: asked.concurrency,
        deadline_seconds: asked.deadline_seconds,
        initiator,
    };
    let id = evaluation::insert(&mut tx, &new).await?;
    choose(&mut tx, (id, agent_id), asked.cases.as_deref()).await?;
    let made = evaluation::find(&mut tx, id).await?.context("an evaluation that was just made")?;
    once.remember(&mut tx, StatusCode::CREATED, &made).await?;
    tx.commit().await?;
    Ok(Created(made).into_response())
}

/// Copies the cases into the evaluation.
async fn choose(
    tx: &mut dbutil::TenantTx,
    (id, agent): (EvaluationId, AgentId),
    only: Option<&[CaseId]>,
) -> Result<(), Error> {
    let known = evaluation_result::insert(tx, id, agent, only).await?;
    let missing = only.unwrap_or_default().iter().enumerate();
    let errors: Vec<FieldError> = missing
        .filter(|(_, id)| !known.contains(id))
        .map(|(n, _)| FieldError::new(format!("/cases/{n}"), "the agent has no such case"))
        .collect();
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    if known.is_empty() {
        return Err(Error::Invalid(vec![FieldError::new("/cases", "the agent has no cases")]));
    }
    Ok(())
}
