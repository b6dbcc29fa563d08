use std::time::Duration;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use servicekit::{Body, Caller, Created, FieldError, Once, Path, Problem, scope::RunsWrite};
use shared_models::{ProblemBody, RunId, RunMode};
use utoipa::ToSchema;

use super::{start_run, visible};
use crate::app::App;
use crate::call_key;
use crate::error::Error;
use crate::fork::{self, Asked, Edits, Point, Unmatched};
use crate::http::run_view::RunView;
use crate::store::run;
use crate::visibility::Viewer;

/// How a run is forked.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "from": { "step": 2 }, "edits": { "model": "openai:gpt-5-mini" } }))]
pub(crate) struct Fork {
    /// Where the new run goes on; from the beginning unless said.
    #[serde(default)]
    from: From,
    /// What is different.
    #[serde(default)]
    edits: Edits,
    /// `dry` unless said: models are asked, tools are not called.
    #[serde(default = "dry")]
    mode: RunMode,
    /// What becomes of a call of a dry run that the old one has not made; `ask` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unmatched: Option<Unmatched>,
    /// Of a live run: calls that the old one had begun, and of which it had no answer at that point, are made again, though
    /// they may have happened and are harmful to repeat. Without it a run with such calls is refused, unless their results are
    /// given in `edits.tool_results`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    repeat_open_calls: bool,
    /// How long it may take, instead of the agent's own limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 2_678_400)]
    deadline_seconds: Option<u32>,
}

/// One of `seq` and `step`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct From {
    /// The last record of the old run that stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 2)]
    seq: Option<i64>,
    /// The reply of the model that is given anew, counted from 1: everything before it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    step: Option<u32>,
    /// With `step`, in a run of a swarm: whose reply, as the run's tree shows the member's path. Everything that was written
    /// down before its model was asked for it stands, of all members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<Vec<String>>,
}

fn dry() -> RunMode {
    RunMode::Dry
}

/// A run that is a fork of another one.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Forked {
    /// The run that it goes on from.
    fork_of: RunId,
    /// The last record of that run that stands.
    from_seq: i64,
    #[serde(flatten)]
    run: RunView,
}

/// Let another run go on from any point of this one, with something changed: the input, the instructions, the model, the
/// version, or what tools have answered. In a run of a swarm that may be any step of any member.
///
/// The new run begins with the old one's records up to that point. By default it is `dry`: its models are asked, and each
/// call of a tool is answered with what the old run was told when it made the same call (by name and arguments) for the same
/// time. Nothing reaches the world, no credential is used, and nobody is asked for approval. A call that the old run has not
/// made is put to a person (`GET` and `POST …/input`), refused, or made, as `unmatched` says. The old run may be under way.
/// Whoever may not see what runs say changes nothing of one whose calls may be made: what was said could be told to them.
#[utoipa::path(post, path = "/v1/runs/{run_id}/fork", tag = "runs", security(("token" = ["runs:write"])),
    params(("run_id" = RunId, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    request_body = Fork,
    responses((status = 201, body = Forked), (status = "default", body = ProblemBody)))]
pub(crate) async fn fork_run(
    State(app): State<App>,
    caller: Caller<RunsWrite>,
    mut once: Once,
    Path(of): Path<RunId>,
    Body(fork): Body<Fork>,
) -> Result<Response, Problem> {
    let initiator = caller.person()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let row = visible(&mut tx, &caller, of).await?;
    let asked = fork.read()?;
    if !caller.payloads && asked.may_tell() {
        return Err(Error::NotYoursToRead.into());
    }
    if let Some(stored) = once.begin(&mut tx, &caller, &fork).await? {
        return Ok(stored);
    }
    let who = (&Viewer::of(&caller), initiator);
    let made = Box::pin(fork::make(&app, &mut tx, who, &row, &asked));
    let (run_id, from_seq) = made.await?;
    let row = run::find(&mut tx, run_id).await?.ok_or(Error::RunNotFound(run_id))?;
    let made = Forked { fork_of: of, from_seq, run: RunView::new(row, caller.payloads) };
    once.remember(&mut tx, StatusCode::CREATED, &made).await?;
    tx.commit().await?;
    app.announce().await;
    Ok(Created(made).into_response())
}

impl Fork {
    /// What is asked for, as far as that can be said without the run.
    fn read(&self) -> Result<Asked, Problem> {
        let mut errors = self.edits.check();
        let path = self.from.path.as_deref().map(call_key::path_of);
        if path.is_some() && self.from.step.is_none() {
            errors.push(FieldError::new("/from/path", "only with `step`"));
        }
        let from = match (self.from.seq, self.from.step) {
            (Some(seq), None) => Point::Seq(seq),
            (None, step) => Point::Step { path, step: step.unwrap_or(1) },
            (Some(_), Some(step)) => {
                errors.push(FieldError::new("/from/step", "say `seq` or `step`, not both"));
                Point::Step { path, step }
            }
        };
        if self.unmatched.is_some() && self.mode.is_live() {
            errors.push(FieldError::new("/unmatched", "only of a dry run"));
        }
        if self.repeat_open_calls && !self.mode.is_live() {
            errors.push(FieldError::new("/repeat_open_calls", "only of a live run"));
        }
        if self.deadline_seconds.is_some_and(|seconds| !(1..=2_678_400).contains(&seconds)) {
            errors.push(FieldError::new("/deadline_seconds", "from 1 second to 31 days"));
        }
        if !errors.is_empty() {
            return Err(Problem::validation(errors));
        }
        Ok(Asked {
            from,
            edits: self.edits.clone(),
            input: self.edits.input.as_ref().map(start_run::message),
            mode: self.mode,
            unmatched: self.unmatched.unwrap_or_default(),
            repeat_open_calls: self.repeat_open_calls,
            deadline: self.deadline_seconds.map(|seconds| Duration::from_secs(seconds.into())),
        })
    }
}
