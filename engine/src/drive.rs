//! Carries out what the loop asks for. The intent is committed, under our epoch, before the world is touched; the outcome
//! right after. A crash resumes between the two.
//!
//! One task drives one run from a claim to its end, its next wait, or the process's stop. All it knows comes from the
//! journal; all it does goes through the journal; and an append that is refused because somebody else owns the run
//! now ends the task on the spot.

mod deferral;
mod doubt;
mod finish;
mod interrupt;
mod load;
mod model;
mod tools;
mod waits;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use agentcore::step::{due, step};
use agentcore::{Command, Conversation, Happened, Message, Status, ToolCall};
use shared_models::events::run::{RunStarted, RunWaiting};
use shared_models::{MicroUsd, WaitReason};

use crate::app::App;
use crate::catalogue::Pinned;
use crate::committer::AppendError;
use crate::error::Error;
use crate::journal::Journal;
use crate::live::Active;
use crate::record::{ContentRef, Record};
use crate::store::effect;
use crate::store::queue::{self, Claimed, Counted};
use crate::transcript::Waited;

/// What stays the same while a run is driven.
struct Cx<'a> {
    app: &'a App,
    claimed: &'a Claimed,
    active: &'a Active,
    snapshot: Arc<Pinned>,
    journal: Journal,
    deadline: tokio::time::Instant,
}

/// What a run that was made by this process just now begins with.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) pinned: Arc<Pinned>,
    pub(crate) input: Message,
}

/// Where the run stands.
struct Run {
    state: Conversation,
    /// Calls as the ledger knew them when we took over.
    known: HashMap<String, effect::Row>,
    /// Calls in doubt, and why.
    doubts: BTreeMap<String, String>,
    /// Calls that may still be under way with an owner before us, and for how many milliseconds.
    lingering: BTreeMap<String, i64>,
    /// Calls whose answer comes as a signal.
    waiting: BTreeMap<String, Waited>,
    /// Tools that were looked for and found, in that order.
    found: Vec<String>,
    /// Calls under way with us.
    flights: HashMap<String, tools::Flight>,
    /// The last reply that said something.
    output: Option<ContentRef>,
    /// What the replies cost; none once there is one without a price.
    cost: Option<MicroUsd>,
}

impl Run {
    fn new(state: Conversation) -> Self {
        Self {
            state,
            known: HashMap::new(),
            doubts: BTreeMap::new(),
            lingering: BTreeMap::new(),
            waiting: BTreeMap::new(),
            found: Vec::new(),
            flights: HashMap::new(),
            output: None,
            cost: Some(MicroUsd::default()),
        }
    }

    fn step(&mut self, happened: Happened) {
        // What is to be done next is read from the state, by whoever drives it then.
        step(&mut self.state, happened);
    }

    /// The calls of this turn that nobody has answered and nobody is asked about.
    fn callable(&self) -> Vec<ToolCall> {
        let open = |call: &&ToolCall| {
            !self.doubts.contains_key(&call.id)
                && !self.lingering.contains_key(&call.id)
                && !self.waiting.contains_key(&call.id)
        };
        self.state.unanswered().filter(open).cloned().collect()
    }
}

/// Drives a run as far as it goes now.
pub(crate) async fn drive(
    app: &App,
    claimed: &Claimed,
    active: &Active,
    fresh: Option<Fresh>,
) -> Result<(), Error> {
    let driven = match begin(app, claimed, active, fresh).await? {
        Some((cx, mut run)) => Box::pin(go(&cx, &mut run)).await,
        None => Ok(()),
    };
    match driven {
        Err(Error::Append(AppendError::Fenced)) => {
            tracing::info!("the run belongs to another worker now");
            Ok(())
        }
        driven => driven,
    }
}

/// Reads the run back; none when it ended at once.
async fn begin<'a>(
    app: &'a App,
    claimed: &'a Claimed,
    active: &'a Active,
    fresh: Option<Fresh>,
) -> Result<Option<(Cx<'a>, Run)>, Error> {
    let journal = Journal::new(claimed, app.committer.clone(), app.stage.clone());
    if claimed.claims > app.runs.max_claims {
        finish::poisoned(app, claimed, &journal).await?;
        return Ok(None);
    }
    let loaded = match fresh {
        Some(fresh) => load::fresh(fresh),
        None => load::load(app, claimed).await?,
    };
    let left = Duration::from_millis(claimed.deadline_ms.max(0) as u64);
    let deadline = tokio::time::Instant::now() + left;
    let (worker, epoch) = (app.worker, claimed.epoch);
    if loaded.started {
        journal.note(Record::Resumed { worker, epoch });
    } else {
        journal.note(Record::Started { worker, epoch });
        journal.emit(&RunStarted { run: claimed.reference() }).map_err(anyhow::Error::from)?;
    }
    let cx = Cx { app, claimed, active, snapshot: loaded.snapshot, journal, deadline };
    Ok(Some((cx, loaded.run)))
}

async fn go(cx: &Cx<'_>, run: &mut Run) -> Result<(), Error> {
    loop {
        if let Some(stop) = interrupt::take_signals(cx, run).await? {
            return finish::stopped(cx, run, stop).await;
        }
        if cx.snapshot.waits_for_its_turn() {
            return wait(cx, run).await;
        }
        let next = due(&run.state).pop();
        if cx.app.draining.is_cancelled() && !matches!(next, Some(Command::Finish(_))) {
            return release(cx).await;
        }
        let stop = match next {
            Some(command @ (Command::CallModel | Command::Summarise { .. })) => {
                let call = interrupt::unless_stopped(cx, model::carry_out(cx, run, &command));
                tokio::select! {
                    stop = call => stop?,
                    () = out_of_patience(cx) => return release(cx).await,
                }
            }
            Some(Command::CallTools(_)) if run.callable().is_empty() => return wait(cx, run).await,
            Some(Command::CallTools(_)) => {
                interrupt::unless_stopped(cx, tools::call(cx, run)).await?
            }
            Some(Command::Finish(outcome)) => return finish::ended(cx, run, &outcome).await,
            None => return Err(anyhow::anyhow!("the run has no input").into()),
        };
        if let Some(stop) = stop {
            return finish::stopped(cx, run, stop).await;
        }
    }
}

/// Lets go of the run until something outside happens: somebody answers for the calls in doubt, or it is late enough
/// to say that they are.
async fn wait(cx: &Cx<'_>, run: &Run) -> Result<(), Error> {
    let soonest = run.lingering.values().min();
    let reason = match soonest {
        _ if cx.snapshot.waits_for_its_turn() => WaitReason::Turn,
        Some(_) => WaitReason::Timer,
        None => waits::reason(run),
    };
    if let Some(millis) = soonest {
        cx.journal.set_timer(doubt::TIMER, *millis);
    }
    cx.journal.note(Record::Waiting { reason });
    cx.journal.change(|change| {
        change.status = Some(shared_models::RunStatus::Waiting);
        change.wait_reason = Some(reason);
    });
    let event = RunWaiting { run: cx.claimed.reference(), reason };
    cx.journal.emit(&event).map_err(anyhow::Error::from)?;
    cx.journal.commit().await?;
    cx.app.stage.settled(cx.claimed.run);
    if reason == WaitReason::Turn {
        // The turn may have come meanwhile.
        finish::settle_conversation(cx).await;
    }
    tracing::info!(%reason, "the run waits");
    metrics::counter!("engine_runs_waiting_total", "reason" => reason.as_str()).increment(1);
    Ok(())
}

/// How long a stopping process waits for a model. Asking again elsewhere costs tokens, being killed in the middle
/// costs the run a whole lease.
const PATIENCE: Duration = Duration::from_secs(10);

async fn out_of_patience(cx: &Cx<'_>) {
    cx.app.draining.cancelled().await;
    tokio::time::sleep(PATIENCE).await;
}

/// Leaves the run to another process, because this one stops.
async fn release(cx: &Cx<'_>) -> Result<(), Error> {
    cx.journal.commit().await?;
    let mut tx = cx.app.db.begin(cx.claimed.tenant).await?;
    queue::release(&mut tx, cx.claimed.run, cx.claimed.epoch, Counted::No).await?;
    tx.commit().await?;
    cx.app.bell.ring().await;
    Ok(())
}

/// Whether a conversation waits for tools.
fn acting(state: &Conversation) -> bool {
    matches!(state.status, Status::Acting)
}
