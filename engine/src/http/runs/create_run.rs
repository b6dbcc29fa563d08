use std::sync::Arc;
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
use shared_models::{AgentId, AgentStatus, ProblemBody, RunId, RunStatus, TenantId, UserId};
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;

use crate::app::App;
use crate::catalogue::{self, Pinned, Which};
use crate::create::{self, NewRun};
use crate::creator::{CreateError, Made};
use crate::error::Error;
use crate::http::run_view::RunView;
use crate::live::{Live, Settling};
use crate::snapshot::RunSnapshot;
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
    let run = RunId::mint();
    if once.is_asked() {
        return kept(&app, &caller, &mut once, start, (run, initiator)).await;
    }
    let settling = start.wait().map(|_| app.stage.settling(run));
    let begun = begin(&app, &caller, &start, (run, initiator)).await?;
    let Some((seconds, settling)) = start.wait().zip(settling) else {
        return Ok(Created(begun.view).into_response());
    };
    let until = Instant::now() + Duration::from_secs(seconds.into());
    let view = if begun.ours {
        settled_here(&app, &caller, run, &settling, until).await?
    } else {
        let live = app.stage.subscribe(caller.tenant, run).await.map_err(Problem::internal)?;
        settled(&app, &caller, run, live, until).await?
    };
    Ok(axum::Json(view).into_response())
}

/// A run that exists, and whether this process has begun with it.
struct Begun {
    view: RunView,
    ours: bool,
}

/// How often a run is tried to be made of an agent that is being edited meanwhile.
const TRIES: usize = 5;

/// Makes the run with the next group.
async fn begin(
    app: &App,
    caller: &Caller<RunsWrite>,
    start: &StartRun,
    (run, initiator): (RunId, UserId),
) -> Result<Begun, Problem> {
    let viewer = Viewer::of(caller);
    for _ in 0..TRIES {
        let pinned = start.agent(app, caller.tenant, &viewer).await?;
        let new = start.run(run, initiator, pinned.owner);
        let order = create::order(caller.tenant, &app.runs, (new, pinned.clone()), None);
        match app.creator.make(order.map_err(Problem::internal)?).await.map_err(Error::from)? {
            Made::Run { at, deadline_at, ours } => {
                let row = store::run::Row::begun(
                    (caller.tenant, run, initiator),
                    &pinned,
                    (at, deadline_at),
                    ours,
                );
                return Ok(Begun { view: RunView::new(row, caller.payloads), ours });
            }
            Made::Nothing => return Err(Error::RunNotFound(run).into()),
            Made::Stale => {
                app.catalogue.fresh(&app.db, caller.tenant, &start.which()).await?;
            }
        }
    }
    Err(Error::from(CreateError::Busy).into())
}

/// Makes the run in the transaction that remembers the answer.
async fn kept(
    app: &App,
    caller: &Caller<RunsWrite>,
    once: &mut Once,
    start: StartRun,
    (run, initiator): (RunId, UserId),
) -> Result<Response, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(stored) = once.begin(&mut tx, caller, &start).await? {
        return Ok(stored);
    }
    let pinned = start.agent_now(app, &mut tx, &Viewer::of(caller)).await?;
    let new = start.run(run, initiator, pinned.owner);
    create::create(&mut tx, &app.runs, &new, &pinned).await?;
    let row = store::run::find(&mut tx, run).await?.ok_or(Error::RunNotFound(run))?;
    let view = RunView::new(row, caller.payloads);
    once.remember(&mut tx, StatusCode::CREATED, &view).await?;
    let Some(seconds) = start.wait() else {
        tx.commit().await?;
        app.announce().await;
        return Ok(Created(view).into_response());
    };
    let live = app.stage.subscribe(caller.tenant, run).await.map_err(Problem::internal)?;
    tx.commit().await?;
    app.announce().await;
    let until = Instant::now() + Duration::from_secs(seconds.into());
    Ok(axum::Json(settled(app, caller, run, live, until).await?).into_response())
}

/// Between two looks at a run of which nothing is heard: another process may have taken it over.
const LOOK: Duration = Duration::from_secs(1);

/// Waits until a run that this process drives has ended or waits.
async fn settled_here(
    app: &App,
    caller: &Caller<RunsWrite>,
    run: RunId,
    settling: &Settling,
    until: Instant,
) -> Result<RunView, Problem> {
    loop {
        let look = until.min(Instant::now() + LOOK);
        let _ = timeout_at(look, settling.settled()).await;
        let view = look_at(app, caller, run).await?;
        if is_settled(app, &view, until) {
            return Ok(view);
        }
    }
}

/// Waits until the run has ended or waits, wherever it is driven.
async fn settled(
    app: &App,
    caller: &Caller<RunsWrite>,
    run: RunId,
    mut live: async_nats::Subscriber,
    until: Instant,
) -> Result<RunView, Problem> {
    loop {
        app.stage.ask(run).await;
        let view = look_at(app, caller, run).await?;
        if is_settled(app, &view, until) {
            return Ok(view);
        }
        let look = until.min(Instant::now() + LOOK);
        while let Ok(Some(message)) = timeout_at(look, live.next()).await {
            if Live::settles(&message.payload) {
                break;
            }
        }
    }
}

async fn look_at(app: &App, caller: &Caller<RunsWrite>, run: RunId) -> Result<RunView, Problem> {
    let row = app.reader.find(caller.tenant, run).await.map_err(Error::from)?;
    Ok(RunView::new(row.ok_or(Error::RunNotFound(run))?, caller.payloads))
}

fn is_settled(app: &App, view: &RunView, until: Instant) -> bool {
    let under_way = matches!(view.status, RunStatus::Queued | RunStatus::Running);
    !under_way || Instant::now() >= until || app.draining.is_cancelled()
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

    fn wait(&self) -> Option<u32> {
        self.wait.filter(|seconds| *seconds > 0)
    }

    fn run(&self, run: RunId, initiator: UserId, principal: UserId) -> NewRun {
        NewRun {
            run,
            principal,
            initiator: Some(initiator),
            firing: None,
            input: self.message(),
            traceparent: servicekit::trace::outgoing(),
            deadline: self.deadline_seconds.map(|seconds| Duration::from_secs(seconds.into())),
        }
    }

    fn which(&self) -> Which {
        match (self.agent_id, &self.agent) {
            (Some(agent_id), _) => Which::Id(agent_id),
            (None, name) => Which::Name(name.clone().unwrap_or_default()),
        }
    }

    /// The agent, if the caller may see it and it may run. What is kept in memory may say no too early.
    async fn agent(
        &self,
        app: &App,
        tenant: TenantId,
        viewer: &Viewer,
    ) -> Result<Arc<Pinned>, Error> {
        let which = self.which();
        let kept = app.catalogue.get(&app.db, tenant, &which).await?;
        if let Some(pinned) = kept.filter(|pinned| self.may(app, viewer, pinned).is_ok()) {
            return Ok(pinned);
        }
        let fresh = app.catalogue.fresh(&app.db, tenant, &which).await?;
        let pinned = fresh.ok_or_else(|| self.unknown())?;
        self.may(app, viewer, &pinned)?;
        Ok(pinned)
    }

    /// The same within a transaction.
    async fn agent_now(
        &self,
        app: &App,
        tx: &mut TenantTx,
        viewer: &Viewer,
    ) -> Result<Pinned, Error> {
        let read = catalogue::read(tx, &self.which()).await?;
        let snapshot = read.ok_or_else(|| self.unknown())?;
        self.may(app, viewer, &snapshot)?;
        Ok(Pinned::new(snapshot, 0))
    }

    fn may(&self, app: &App, viewer: &Viewer, snapshot: &RunSnapshot) -> Result<(), Error> {
        if !viewer.sees(snapshot.scope, snapshot.owner, snapshot.team_id) {
            return Err(self.unknown());
        }
        match snapshot.status {
            AgentStatus::Active => snapshot.check_models(&app.models),
            status => Err(Error::AgentNotActive(status.to_string())),
        }
    }

    fn unknown(&self) -> Error {
        match (self.agent_id, &self.agent) {
            (Some(agent_id), _) => Error::AgentNotFound(agent_id),
            (None, name) => Error::AgentNameNotFound(name.clone().unwrap_or_default()),
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
