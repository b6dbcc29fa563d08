use anyhow::Context as _;
use axum::{extract::State, http::StatusCode};
use dbutil::TenantTx;
use serde::{Deserialize, Serialize};
use servicekit::{Body, Caller, FieldError, Path, Problem, scope::RunsWrite};
use shared_models::{EffectState, ProblemBody, RunId};
use utoipa::ToSchema;

use super::visible;
use crate::app::App;
use crate::call_key;
use crate::definition::unstorable;
use crate::error::Error;
use crate::snapshot::RunSnapshot;
use crate::store::signal::{self, Signal};
use crate::store::{effect, queue, run};

/// What became of a call in doubt.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    outcome: Known,
    /// Whose call it is, in a run of a swarm: as the list of effects says.
    #[serde(default)]
    path: Vec<String>,
    /// What the call returned, or why it did not happen: the model reads it.
    #[serde(default)]
    #[schema(max_length = 65536)]
    result: Option<String>,
}

const LONGEST_RESULT: usize = 64 * 1024;

impl Answer {
    fn check(&self) -> Result<(), Problem> {
        let result = self.result.as_deref().unwrap_or_default();
        let mut errors = unstorable(&result.into(), "/result");
        errors.extend(unstorable(&self.path.clone().into(), "/path"));
        if result.len() > LONGEST_RESULT {
            errors.push(FieldError::new("/result", "at most 64 KiB"));
        }
        if errors.is_empty() { Ok(()) } else { Err(Problem::validation(errors)) }
    }
}

/// Whether it happened, or who is to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Known {
    Happened,
    DidNotHappen,
    /// Nobody knows: ask the probe of the tool, also when it has been asked before. The call stays in doubt until it tells.
    CheckForMe,
}

/// Say what became of a call in doubt. The run goes on with this answer; the call is not made again. Or have the tool's probe
/// find out.
#[utoipa::path(post, path = "/v1/runs/{run_id}/effects/{call_id}/answer", tag = "runs",
    security(("token" = ["runs:write"])),
    params(("run_id" = RunId, Path), ("call_id" = String, Path)), request_body = Answer,
    responses((status = 202, description = "The run will go on with it."), (status = "default", body = ProblemBody)))]
pub(crate) async fn answer_effect(
    State(app): State<App>,
    caller: Caller<RunsWrite>,
    Path((run_id, call_id)): Path<(RunId, String)>,
    Body(answer): Body<Answer>,
) -> Result<StatusCode, Problem> {
    let by = caller.person()?;
    answer.check()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    visible(&mut tx, &caller, run_id).await?;
    let status = run::hold(&mut tx, run_id).await?.ok_or(Error::RunNotFound(run_id))?;
    let key = call_key::key(&call_key::path_of(&answer.path), &call_id);
    match effect::state(&mut tx, run_id, &key).await? {
        None => return Err(Error::EffectNotFound(call_id).into()),
        Some(EffectState::InDoubt) => {}
        Some(_) => return Err(Error::EffectNotInDoubt(call_id).into()),
    }
    if answer.outcome == Known::CheckForMe {
        if status.terminal() {
            return Err(Error::RunEnded.into());
        }
        if !has_probe(&mut tx, run_id, &key).await? {
            return Err(Error::EffectHasNoProbe.into());
        }
        let signal = Signal::Check { call_id: key, by };
        signal::insert(&mut tx, run_id, &signal).await?;
        queue::wake(&mut tx, run_id).await?;
        tx.commit().await?;
        app.bell.ring_for(run_id).await;
        return Ok(StatusCode::ACCEPTED);
    }
    let happened = answer.outcome == Known::Happened;
    if status.terminal() {
        let reason = if happened { "it happened" } else { "it did not happen" };
        effect::settle(&mut tx, run_id, &key, by, reason).await?;
    } else {
        let signal = Signal::Doubt { call_id: key, happened, result: answer.result, by };
        signal::insert(&mut tx, run_id, &signal).await?;
        queue::wake(&mut tx, run_id).await?;
    }
    tx.commit().await?;
    app.bell.ring_for(run_id).await;
    Ok(StatusCode::ACCEPTED)
}

/// Whether the tool of the call declares a probe, as the member has the tool who has made the call.
async fn has_probe(tx: &mut TenantTx, run: RunId, key: &str) -> Result<bool, Error> {
    let calls = effect::list(tx, run).await?;
    let Some(call) = calls.into_iter().find(|call| call.call_id == key) else { return Ok(false) };
    let snapshot = run::snapshot(tx, run).await?.ok_or(Error::RunPruned(run))?;
    let snapshot: RunSnapshot = serde_json::from_value(snapshot).context("the run's snapshot")?;
    let agent = match &snapshot.swarm {
        None => Some(&snapshot),
        Some(swarm) => {
            let path = call_key::split(key).0.parse().context("the path of a call")?;
            swarm.agent_at(&swarm.plan, &path)
        }
    };
    let mut tools = agent.into_iter().flat_map(|agent| &agent.tools);
    Ok(tools.any(|tool| tool.name == call.tool_name && tool.probe.is_some()))
}
