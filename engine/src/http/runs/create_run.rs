use std::time::Duration;

use agentcore::{Block, Content, Message};
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use dbutil::TenantTx;
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use servicekit::{Body, Caller, Created, FieldError, Once, Problem, scope::RunsWrite};
use shared_models::{AgentId, AgentStatus, ProblemBody, RunId, RunStatus};
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;

use crate::app::App;
use crate::create::{self, NewRun};
use crate::error::Error;
use crate::http::run_view::RunView;
use crate::snapshot::{self, RunSnapshot};
use crate::store;
use crate::visibility::Viewer;

/// A run to start.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartRun {
    /// Which agent; or name it with `agent`.
    #[serde(default)]
    agent_id: Option<AgentId>,
    /// The agent's name.
    #[serde(default)]
    agent: Option<String>,
    /// What is said to the agent: a text, a list of content blocks, or any other JSON, which it reads as text.
    input: Value,
    /// How long it may take, instead of the agent's own limit.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 2_678_400)]
    deadline_seconds: Option<u32>,
    /// Answer when the run has ended or waits, at the latest after so many seconds.
    #[serde(default)]
    #[schema(maximum = 60)]
    wait: Option<u32>,
}

/// Start a run of an agent.
#[utoipa::path(post, path = "/v1/runs", tag = "runs", security(("token" = ["runs:write"])), request_body = StartRun,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    responses((status = 201, body = RunView), (status = 200, body = RunView, description = "With `wait`."),
        (status = "default", body = ProblemBody)))]
pub(crate) async fn create_run(
    State(app): State<App>,
    caller: Caller<RunsWrite>,
    mut once: Once,
    Body(start): Body<StartRun>,
) -> Result<Response, Problem> {
    let initiator = caller.person()?;
    start.check()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(stored) = once.begin(&mut tx, &caller, &start).await? {
        return Ok(stored);
    }
    let snapshot = start.agent(&mut tx, &Viewer::of(&caller)).await?;
    let new = NewRun {
        run: RunId::mint(),
        principal: snapshot.owner,
        initiator: Some(initiator),
        firing: None,
        input: start.message(),
        traceparent: servicekit::trace::outgoing(),
        deadline: start.deadline_seconds.map(|s| Duration::from_secs(s.into())),
        snapshot,
    };
    create::create(&mut tx, &app.runs, &new).await?;
    let view = view(&mut tx, new.run, caller.payloads).await?;
    once.remember(&mut tx, StatusCode::CREATED, &view).await?;
    let Some(seconds) = start.wait.filter(|seconds| *seconds > 0) else {
        tx.commit().await?;
        app.announce().await;
        return Ok(Created(view).into_response());
    };
    let live = app.stage.subscribe(caller.tenant, new.run).await.map_err(Problem::internal)?;
    tx.commit().await?;
    app.announce().await;
    let until = Instant::now() + Duration::from_secs(seconds.into());
    let view = settled(&app, &caller, new.run, live, until).await?;
    Ok(axum::Json(view).into_response())
}

async fn view(tx: &mut TenantTx, run: RunId, payloads: bool) -> Result<RunView, Error> {
    let row = store::run::find(tx, run).await?.ok_or(Error::RunNotFound(run))?;
    Ok(RunView::new(row, payloads))
}

/// Waits until the run has ended or waits, looking whenever something happens to it and once a second.
async fn settled(
    app: &App,
    caller: &Caller<RunsWrite>,
    run: RunId,
    mut live: async_nats::Subscriber,
    until: Instant,
) -> Result<RunView, Problem> {
    loop {
        let mut tx = app.db.begin(caller.tenant).await?;
        let view = view(&mut tx, run, caller.payloads).await?;
        drop(tx);
        let under_way = matches!(view.status, RunStatus::Queued | RunStatus::Running);
        if !under_way || Instant::now() >= until || app.draining.is_cancelled() {
            return Ok(view);
        }
        // Deltas come in hundreds: nothing but records is worth a look.
        let look = until.min(Instant::now() + Duration::from_secs(1));
        while let Ok(Some(message)) = timeout_at(look, live.next()).await {
            if !message.payload.starts_with(b"{\"delta\"") {
                break;
            }
        }
    }
}

impl StartRun {
    fn check(&self) -> Result<(), Problem> {
        let mut errors = Vec::new();
        if self.agent_id.is_some() == self.agent.is_some() {
            errors.push(FieldError::new("/agent_id", "say either `agent_id` or `agent`"));
        }
        if self.input.is_null() || self.input.as_str().is_some_and(str::is_empty) {
            errors.push(FieldError::new("/input", "must not be empty"));
        }
        if self.deadline_seconds.is_some_and(|seconds| !(1..=2_678_400).contains(&seconds)) {
            errors.push(FieldError::new("/deadline_seconds", "from 1 second to 31 days"));
        }
        if self.wait.is_some_and(|seconds| seconds > 60) {
            errors.push(FieldError::new("/wait", "at most 60 seconds"));
        }
        if errors.is_empty() { Ok(()) } else { Err(Problem::validation(errors)) }
    }

    /// The agent as it is now, if the caller may see it and it may run.
    async fn agent(&self, tx: &mut TenantTx, viewer: &Viewer) -> Result<RunSnapshot, Error> {
        let agent_id = match (self.agent_id, &self.agent) {
            (Some(agent_id), _) => agent_id,
            (None, Some(name)) => store::run::agent_named(tx, name)
                .await?
                .ok_or_else(|| Error::AgentNameNotFound(name.clone()))?,
            (None, None) => return Err(Error::AgentNameNotFound(String::new())),
        };
        let unknown = || match &self.agent {
            Some(name) => Error::AgentNameNotFound(name.clone()),
            None => Error::AgentNotFound(agent_id),
        };
        let snapshot = snapshot::build(tx, agent_id, None).await?.ok_or_else(unknown)?;
        if !viewer.sees(snapshot.scope, snapshot.owner, snapshot.team_id) {
            return Err(unknown());
        }
        match snapshot.status {
            AgentStatus::Active => Ok(snapshot),
            status => Err(Error::AgentNotActive(status.to_string())),
        }
    }

    fn message(&self) -> Message {
        if let Value::String(text) = &self.input {
            return Message::user(text);
        }
        match serde_json::from_value::<Vec<Block>>(self.input.clone()) {
            Ok(blocks) if !blocks.is_empty() => Message::User { content: Content::Blocks(blocks) },
            _ => Message::user(self.input.to_string()),
        }
    }
}
