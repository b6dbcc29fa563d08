//! Doing a run over, as another one that knows whose retry it is.

use std::time::Duration;

use agentcore::Message;
use anyhow::Context as _;
use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use dbutil::TenantTx;
use serde::{Deserialize, Serialize};
use servicekit::{
    Body, Caller, Created, FieldError, Once, Path, Problem,
    scope::{RunsRead, RunsWrite},
};
use shared_models::{ProblemBody, RunId};
use utoipa::ToSchema;

use super::visible;
use crate::app::App;
use crate::create::{self, NewRun};
use crate::error::Error;
use crate::http::run_view::RunView;
use crate::record::Record;
use crate::snapshot::{self, RunSnapshot};
use crate::store::run_link::{self, Link};
use crate::store::{content, conversation_message, journal, run};
use crate::swarm::plan;
use crate::visibility::Viewer;

/// How a run is done over.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retry {
    /// The version of the agent; the present one unless said.
    #[serde(default)]
    agent_version: Option<i32>,
    /// The version of the swarm, when the run is one's; the present one unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    swarm_version: Option<i32>,
    /// How long it may take, instead of the agent's own limit.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 2_678_400)]
    deadline_seconds: Option<u32>,
}

/// A run that is another one's retry.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Retried {
    /// The run that is done over; it stays as it ended.
    retry_of: RunId,
    #[serde(flatten)]
    run: RunView,
}

/// Do an ended run over: a new run with the same input, told of the same conversation before it, linked to the old one.
///
/// Everything happens anew, what the old run did to the outside world too. The new run stands by itself: not in the
/// conversation, nor below the run that the old one worked for.
#[utoipa::path(post, path = "/v1/runs/{run_id}/retry", tag = "runs", security(("token" = ["runs:write"])),
    params(("run_id" = RunId, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    request_body = Retry,
    responses((status = 201, body = Retried), (status = "default", body = ProblemBody)))]
pub(crate) async fn retry_run(
    State(app): State<App>,
    caller: Caller<RunsWrite>,
    mut once: Once,
    Path(of): Path<RunId>,
    Body(retry): Body<Retry>,
) -> Result<Response, Problem> {
    let initiator = caller.person()?;
    retry.check()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(stored) = once.begin(&mut tx, &caller, &retry).await? {
        return Ok(stored);
    }
    let row = visible(&mut tx, &caller, of).await?;
    if !row.status().terminal() {
        return Err(Error::RunNotEnded.into());
    }
    if !row.mode().is_live() {
        return Err(Error::RunNotRetryable(DRY).into());
    }
    if row.evaluation_id.is_some() {
        return Err(Error::RunNotRetryable(EVALUATION).into());
    }
    retry.fit(row.swarm_id.is_some())?;
    let (before, input) = begun_with(&mut tx, &row).await?;
    let viewer = Viewer::of(&caller);
    let mut snapshot = match row.swarm_id {
        None => snapshot::for_viewer(&mut tx, &viewer, row.agent_id, retry.agent_version).await?,
        Some(id) => plan::for_viewer(&mut tx, &viewer, id, retry.swarm_version).await?,
    };
    snapshot.check_models(&app.models)?;
    snapshot.history = before.history;
    let new = NewRun {
        run: RunId::mint(),
        principal: snapshot.owner,
        initiator: Some(initiator),
        firing: None,
        input,
        traceparent: servicekit::trace::outgoing(),
        deadline: retry.deadline_seconds.map(|seconds| Duration::from_secs(seconds.into())),
        end_user: row.end_user_id,
        place: None,
        variables: before.variables,
        evaluation: None,
    };
    create::create(&mut tx, &app.runs, &new, &snapshot).await?;
    run_link::insert(&mut tx, new.run, of, Link::Retry).await?;
    let row = run::find(&mut tx, new.run).await?.ok_or(Error::RunNotFound(new.run))?;
    let made = Retried { retry_of: of, run: RunView::new(row, caller.payloads) };
    once.remember(&mut tx, StatusCode::CREATED, &made).await?;
    tx.commit().await?;
    app.announce().await;
    Ok(Created(made).into_response())
}

const DRY: &str = "a dry one, and done over it would call its tools for real; fork it instead, which makes another dry one";
const EVALUATION: &str =
    "an evaluation's, and would not be judged; evaluate its agent again instead, with this case";

impl Retry {
    fn check(&self) -> Result<(), Problem> {
        if self.deadline_seconds.is_some_and(|seconds| !(1..=2_678_400).contains(&seconds)) {
            let error = FieldError::new("/deadline_seconds", "from 1 second to 31 days");
            return Err(Problem::validation(vec![error]));
        }
        Ok(())
    }

    /// Refuses what is said of a run of the other kind.
    fn fit(&self, is_swarms: bool) -> Result<(), Problem> {
        let (said, pointer, why) = if is_swarms {
            (self.agent_version, "/agent_version", "the run is a swarm's: say `swarm_version`")
        } else {
            (self.swarm_version, "/swarm_version", "the run is an agent's: say `agent_version`")
        };
        match said {
            None => Ok(()),
            Some(_) => Err(Problem::validation(vec![FieldError::new(pointer, why)])),
        }
    }
}

/// What the run knew when it began, and what it was told.
async fn begun_with(tx: &mut TenantTx, row: &run::Row) -> Result<(RunSnapshot, Message), Error> {
    let pruned = || Error::RunPruned(row.run_id);
    let snapshot = run::snapshot(tx, row.run_id).await?.ok_or_else(pruned)?;
    let mut snapshot: RunSnapshot =
        serde_json::from_value(snapshot).context("the run's snapshot")?;
    let mut summary = snapshot.fork.take().and_then(|fork| fork.summary);
    if let Some(recalled) = &snapshot.recalled {
        snapshot.history = conversation_message::recall(tx, recalled).await?;
        summary.clone_from(&recalled.summary);
    }
    if let Some(summary) = summary {
        let before = format!("Summary of what was said before:\n{summary}");
        snapshot.history.insert(0, Message::user(before));
    }
    let mut message = None;
    for record in journal::after(tx, row.run_id, 0, 2).await? {
        let record = Record::read(&record.kind, record.data).context("the run's records")?;
        if let Record::Input { message: said } = record {
            message = Some(said);
        }
    }
    let message = message.ok_or_else(pruned)?;
    let mut bodies = content::find(tx, row.root_run_id, &[message]).await?;
    let body = bodies.remove(&message).ok_or_else(pruned)?;
    Ok((snapshot, serde_json::from_slice(&body).context("the run's input")?))
}

/// How a run hangs together with others.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RunLinks {
    /// The run that it is a retry of.
    retry_of: Option<RunId>,
    /// Its own retries, oldest first; at most 100.
    retries: Vec<RunId>,
    /// The run that it is a fork of.
    fork_of: Option<RunId>,
    /// The last record of that run that stands.
    from_seq: Option<i64>,
    /// Its own forks, oldest first; at most 100.
    forks: Vec<RunId>,
}

/// See which run this one is a retry or a fork of, and which are retries and forks of it.
#[utoipa::path(get, path = "/v1/runs/{run_id}/links", tag = "runs", security(("token" = ["runs:read"])),
    params(("run_id" = RunId, Path)),
    responses((status = 200, body = RunLinks), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_run_links(
    State(app): State<App>,
    caller: Caller<RunsRead>,
    Path(run_id): Path<RunId>,
) -> Result<Json<RunLinks>, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    visible(&mut tx, &caller, run_id).await?;
    let of = run_link::of(&mut tx, run_id).await?;
    let (retries, forks) = run_link::all_of(&mut tx, run_id).await?;
    let (retry_of, fork_of, from_seq) = match of {
        None => (None, None, None),
        Some((of, Link::Retry)) => (Some(of), None, None),
        Some((of, Link::Fork { seq })) => (None, Some(of), Some(seq)),
    };
    Ok(Json(RunLinks { retry_of, retries, fork_of, from_seq, forks }))
}
