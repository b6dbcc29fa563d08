use std::time::Duration;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use futures::StreamExt as _;
use servicekit::{Body, Caller, Created, Once, Problem, scope::RunsWrite};
use shared_models::{ProblemBody, RunId, RunStatus, UserId, WaitReason};
use tokio::time::{Instant, timeout_at};

use super::start_run::StartRun;
use crate::app::App;
use crate::conversations;
use crate::create;
use crate::creator::{CreateError, Made};
use crate::error::Error;
use crate::http::run_view::RunView;
use crate::live::{Live, Settling};
use crate::store;
use crate::visibility::Viewer;

/// Start a run of an agent or of a swarm.
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
    if once.is_asked() || start.is_personal() || start.is_of_swarm() {
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
        let order = create::order(caller.tenant, &app.runs, (new, pinned.clone()), None)?;
        match app.creator.make(order).await.map_err(Error::from)? {
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

/// Makes the run in a transaction of its own, which remembers the answer and holds the run's conversation.
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
    let viewer = Viewer::of(caller);
    let (start, conversation) = start.in_conversation(&mut tx, &viewer).await?;
    let mut snapshot = start.agent_now(app, &mut tx, &viewer).await?;
    let mut new = start.run(run, initiator, snapshot.owner);
    let mut interrupted = Vec::new();
    if let Some(id) = conversation {
        let joined = conversations::join(&mut tx, id, initiator, start.when_busy()).await?;
        (new.place, snapshot.recalled) = (Some(joined.place), Some(joined.recalled));
        interrupted = joined.interrupted;
    }
    create::create(&mut tx, &app.runs, &new, &snapshot).await?;
    let row = store::run::find(&mut tx, run).await?.ok_or(Error::RunNotFound(run))?;
    let view = RunView::new(row, caller.payloads);
    once.remember(&mut tx, StatusCode::CREATED, &view).await?;
    let Some(seconds) = start.wait() else {
        tx.commit().await?;
        app.announce_with(&interrupted).await;
        return Ok(Created(view).into_response());
    };
    let live = app.stage.subscribe(caller.tenant, run).await.map_err(Problem::internal)?;
    tx.commit().await?;
    app.announce_with(&interrupted).await;
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
    let under_way = matches!(view.status, RunStatus::Queued | RunStatus::Running)
        || view.wait_reason == Some(WaitReason::Turn);
    !under_way || Instant::now() >= until || app.draining.is_cancelled()
}
