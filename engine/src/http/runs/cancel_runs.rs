//! Stopping many runs.

use axum::{Json, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use servicekit::{Body, Caller, FieldError, Problem, scope::RunsWrite};
use shared_models::{AgentId, ConversationId, ProblemBody, RunMode, RunStatus, SwarmId, TriggerId};
use utoipa::ToSchema;

use crate::app::App;
use crate::store::uncancelled;
use crate::tell_many;
use crate::visibility::Viewer;

/// How many runs are stopped with one request.
pub(super) const MOST: i64 = 500;

/// Which runs: as the list of runs is narrowed, by one thing at least.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "agent_id": "agt_01990000000070008000000000000000", "status": "waiting" }))]
pub(crate) struct Which {
    #[serde(default)]
    status: Option<RunStatus>,
    #[serde(default)]
    agent_id: Option<AgentId>,
    #[serde(default)]
    swarm_id: Option<SwarmId>,
    #[serde(default)]
    trigger_id: Option<TriggerId>,
    #[serde(default)]
    conversation_id: Option<ConversationId>,
    #[serde(default)]
    mode: Option<RunMode>,
    /// Created at this moment or later.
    #[serde(default)]
    since: Option<DateTime<Utc>>,
    /// Created before this moment.
    #[serde(default)]
    until: Option<DateTime<Utc>>,
}

/// What was done.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct Cancelled {
    /// How many runs will be stopped by this request: 500 at most.
    cancelled: u64,
    /// There are more: ask again.
    more: bool,
}

/// Stop all runs that you may see and that a filter chooses, the oldest first. Each is stopped as `…/cancel` stops it; those
/// that have been told to stop already are left out.
#[utoipa::path(post, path = "/v1/runs/cancel", tag = "runs", security(("token" = ["runs:write"])), request_body = Which,
    responses((status = 202, body = Cancelled), (status = "default", body = ProblemBody)))]
pub(crate) async fn cancel_runs(
    State(app): State<App>,
    caller: Caller<RunsWrite>,
    Body(which): Body<Which>,
) -> Result<(StatusCode, Json<Cancelled>), Problem> {
    let filter = which.filter()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let mut runs = uncancelled::list(&mut tx, &Viewer::of(&caller), &filter, MOST).await?;
    drop(tx);
    let more = runs.len() as i64 > MOST;
    runs.truncate(MOST as usize);
    let why = (caller.user(), "cancelled by a person, with others");
    let cancelled = tell_many::cancel(&app, caller.tenant, &runs, why).await?;
    Ok((StatusCode::ACCEPTED, Json(Cancelled { cancelled, more })))
}

impl Which {
    pub(super) fn filter(&self) -> Result<uncancelled::Filter, Problem> {
        let Self { status, agent_id, swarm_id, trigger_id, conversation_id, mode, since, until } =
            *self;
        let anything = status.is_some()
            || agent_id.is_some()
            || swarm_id.is_some()
            || trigger_id.is_some()
            || conversation_id.is_some()
            || mode.is_some()
            || since.is_some()
            || until.is_some();
        if !anything {
            let error = FieldError::new("", "say which runs, by one field at least");
            return Err(Problem::validation(vec![error]));
        }
        if status.is_some_and(RunStatus::terminal) {
            let error = FieldError::new("/status", "runs with this status have ended");
            return Err(Problem::validation(vec![error]));
        }
        Ok(uncancelled::Filter {
            status,
            agent: agent_id,
            swarm: swarm_id,
            trigger: trigger_id,
            conversation: conversation_id,
            mode,
            since,
            until,
        })
    }
}
