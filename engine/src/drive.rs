//! Carries out what the loop asks for. The intent is committed, under our epoch, before the world is touched; the outcome
//! right after. A crash resumes between the two.
//!
//! One task drives one run from a claim to its end, its next wait, or the process's stop. All it knows comes from the
//! journal; all it does goes through the journal; and an append that is refused because somebody else owns the run
//! now ends the task on the spot.

mod approvals;
pub(crate) mod artifacts;
mod budget;
mod callbacks;
mod deferral;
mod doubt;
mod dry;
mod finish;
mod hooks;
mod interrupt;
mod load;
mod model;
mod naps;
mod pause;
mod probe;
mod reconnect;
mod tools;
mod tree;
mod waits;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentcore::step::{due, step};
use agentcore::{Command, Conversation, Failure, Happened, Message, Status, ToolCall, ToolSpec};
use shared_models::events::run::{RunStarted, RunWaiting};
use shared_models::{MicroUsd, WaitReason};
use tokio::time::Instant;

use crate::app::App;
use crate::budgets::Short;
use crate::catalogue::Pinned;
use crate::clients::credsvc::Needed;
use crate::committer::AppendError;
use crate::error::Error;
use crate::going_on;
use crate::journal::Journal;
use crate::live::Active;
use crate::record::{ContentRef, Record};
use crate::store::effect;
use crate::store::queue::{self, Claimed, Counted};
use crate::transcript::{Approved, Waited};

/// What stays the same while a run is driven; in a tree, while one of its members is.
#[derive(Clone)]
struct Cx<'a> {
    app: &'a App,
    claimed: &'a Claimed,
    active: &'a Active,
    snapshot: Arc<Pinned>,
    journal: Journal,
    deadline: Instant,
    /// Of the lease, when this began: another number means that the run may be another worker's by now.
    lapses: u64,
    cost: Cost,
    /// The budgets of runs that it draws on.
    meter: budget::Meter,
}

impl Cx<'_> {
    /// A moment at which a test may end the process.
    async fn pass(&self, moment: impl FnOnce() -> String) {
        self.app.runs.crash_points.pass(self.claimed, self.journal.path(), moment).await;
    }
}

/// What the replies cost so far, over all of a tree; none once there is one without a price.
#[derive(Clone)]
struct Cost(Arc<Mutex<Option<MicroUsd>>>);

impl Cost {
    fn new(so_far: Option<MicroUsd>) -> Self {
        Self(Arc::new(Mutex::new(so_far)))
    }

    fn so_far(&self) -> Option<MicroUsd> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the sum.
    fn add(&self, cost: Option<MicroUsd>) -> Option<MicroUsd> {
        let mut sum = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *sum = sum.zip(cost).map(|(sum, more)| sum + more);
        *sum
    }
}

/// What a run that was made by this process just now begins with.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) pinned: Arc<Pinned>,
    pub(crate) input: Message,
}

/// Where the run stands, or one member of a tree.
struct Run {
    state: Conversation,
    /// What a member's tree has not been told yet; none for an agent alone.
    untold: Option<Vec<Happened>>,
    /// Tools that it has because of its place in a tree; the tree answers calls of them.
    given: Vec<ToolSpec>,
    /// Calls that other members of the tree answer.
    delegated: HashSet<String>,
    /// Calls as the ledger knew them when we took over.
    known: HashMap<String, effect::Row>,
    /// Calls in doubt, and why.
    doubts: BTreeMap<String, String>,
    /// Calls in doubt that a probe is to be asked about, and how often it was.
    probing: BTreeMap<String, u32>,
    /// Calls that may still be under way with an owner before us, and until when.
    lingering: BTreeMap<String, Instant>,
    /// Calls that wait for a moment, or in doubt whose probe is asked again then, and for which.
    naps: BTreeMap<String, Instant>,
    /// Calls whose answer comes as a signal, or with time.
    waiting: BTreeMap<String, Waited>,
    /// Calls of a dry run that people are asked about.
    unmatched: BTreeSet<String>,
    /// Calls of a dry run that are made all the same.
    let_through: BTreeSet<String>,
    /// Calls that wait until a credential is connected again; the model's is at [`reconnect::MODEL`].
    needs: BTreeMap<String, Needed>,
    /// Calls that have waited like that under us, which are in the ledger already.
    begun: HashSet<String>,
    /// Calls for which there is no room in a budget; the model's are at [`reconnect::MODEL`].
    short: BTreeMap<String, Vec<Short>>,
    /// Calls that people have approved of, and of what.
    approved: BTreeMap<String, Approved>,
    /// Somebody wants it to stop for a while.
    pausing: Option<pause::Pause>,
    /// Tools that were looked for and found, in that order.
    found: Vec<String>,
    /// Hooks that have let the run go on; none until that is looked up.
    passed: Option<hooks::Passed>,
    /// Why a hook has stopped the run after its end.
    vetoed: Option<Failure>,
    /// Calls under way with us.
    flights: HashMap<String, tools::Flight>,
    /// The last reply that said something.
    output: Option<ContentRef>,
}

impl Run {
    fn new(state: Conversation) -> Self {
        Self {
            state,
            untold: None,
            given: Vec::new(),
            delegated: HashSet::new(),
            known: HashMap::new(),
            doubts: BTreeMap::new(),
            probing: BTreeMap::new(),
            lingering: BTreeMap::new(),
            naps: BTreeMap::new(),
            waiting: BTreeMap::new(),
            unmatched: BTreeSet::new(),
            let_through: BTreeSet::new(),
            needs: BTreeMap::new(),
            begun: HashSet::new(),
            short: BTreeMap::new(),
            approved: BTreeMap::new(),
            pausing: None,
            found: Vec::new(),
            passed: None,
            vetoed: None,
            flights: HashMap::new(),
            output: None,
        }
    }

    fn step(&mut self, happened: Happened) {
        if let Some(untold) = &mut self.untold {
            untold.push(happened.clone());
        }
        // What is to be done next is read from the state, by whoever drives it then.
        step(&mut self.state, happened);
    }

    /// When it has something to do by itself, if it ever has.
    fn until(&self) -> Option<Instant> {
        self.lingering.values().chain(self.naps.values()).min().copied()
    }

    /// Whether the model cannot be asked now.
    fn is_held_up(&self) -> bool {
        self.needs.contains_key(reconnect::MODEL) || self.short.contains_key(reconnect::MODEL)
    }

    /// Whether there is a call to be made, or to be found out about.
    fn has_calls(&self) -> bool {
        !self.probing.is_empty() || !self.callable().is_empty()
    }

    /// The calls of this turn that nobody has answered and nobody is asked about.
    fn callable(&self) -> Vec<ToolCall> {
        self.state.unanswered().filter(|call| self.is_callable(&call.id)).cloned().collect()
    }

    fn is_callable(&self, call_id: &str) -> bool {
        !self.doubts.contains_key(call_id)
            && !self.lingering.contains_key(call_id)
            && !self.waiting.contains_key(call_id)
            && !self.needs.contains_key(call_id)
            && !self.short.contains_key(call_id)
            && !self.delegated.contains(call_id)
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
        Some((cx, load::Driven::Alone(mut run))) => Box::pin(go(&cx, &mut run)).await,
        Some((cx, load::Driven::Tree(tree))) => Box::pin(tree::go(&cx, *tree)).await,
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
) -> Result<Option<(Cx<'a>, load::Driven)>, Error> {
    let lapses = app.lease.lapses();
    let journal = Journal::new(claimed, app);
    if claimed.claims > app.runs.max_claims {
        finish::poisoned(app, claimed, &journal).await?;
        return Ok(None);
    }
    let loaded = match fresh {
        Some(fresh) => load::fresh(fresh),
        None => load::load(app, claimed).await?,
    };
    let left = Duration::from_millis(claimed.deadline_ms.max(0) as u64);
    let deadline = Instant::now() + left;
    let (worker, epoch) = (app.worker, claimed.epoch);
    if loaded.started {
        journal.note(Record::Resumed { worker, epoch });
        let announced = loaded.rested.map(|rest| going_on::announce(&journal, claimed, rest));
        announced.transpose().map_err(anyhow::Error::from)?;
    } else {
        journal.note(Record::Started { worker, epoch });
        journal.emit(&RunStarted { run: claimed.reference() }).map_err(anyhow::Error::from)?;
    }
    let (snapshot, cost) = (loaded.snapshot, Cost::new(loaded.cost));
    let meter = budget::Meter::new(claimed.run, &snapshot);
    let cx = Cx { app, claimed, active, snapshot, journal, deadline, lapses, cost, meter };
    Ok(Some((cx, loaded.driven)))
}

async fn go(cx: &Cx<'_>, run: &mut Run) -> Result<(), Error> {
    loop {
        if let Some(stop) = interrupt::take_signals(cx, run).await? {
            return finish::stopped(cx, run, stop).await;
        }
        let next = due(&run.state).pop();
        if let Some(pause) =
            run.pausing.take().filter(|_| !matches!(next, Some(Command::Finish(_))))
        {
            return pause::begin(cx, pause).await;
        }
        if cx.snapshot.waits_for_its_turn() {
            return wait(cx, run).await;
        }
        if cx.app.draining.is_cancelled() && !matches!(next, Some(Command::Finish(_))) {
            return release(cx).await;
        }
        if let Some(command) = next.as_ref().filter(|_| !cx.snapshot.hooks.is_empty()) {
            let was_open = run.state.outcome().is_none();
            let fired = interrupt::unless_stopped(cx, hooks::fire(cx, run, command)).await?;
            if let Some(stop) = fired {
                return finish::stopped(cx, run, stop).await;
            }
            if was_open && run.state.outcome().is_some() {
                continue;
            }
        }
        let stop = match next {
            Some(command @ (Command::CallModel | Command::Summarise { .. })) => {
                let call = interrupt::unless_stopped(cx, model::carry_out(cx, run, &command));
                tokio::select! {
                    stop = call => stop?,
                    () = out_of_patience(cx) => return release(cx).await,
                }
            }
            Some(Command::CallTools(_)) if !run.has_calls() => return wait(cx, run).await,
            Some(Command::CallTools(_)) => {
                interrupt::unless_stopped(cx, probe::call(cx, run)).await?
            }
            Some(Command::Finish(outcome)) => {
                let outcome = hooks::overruled(outcome, run.vetoed.as_ref());
                return finish::ended(cx, run, &outcome).await;
            }
            None => return Err(anyhow::anyhow!("the run has no input").into()),
        };
        if let Some(stop) = stop {
            return finish::stopped(cx, run, stop).await;
        }
        if run.is_held_up() {
            return wait(cx, run).await;
        }
    }
}

/// Lets go of the run until something outside happens: somebody answers for the calls in doubt, it is late enough to say
/// that they are, or a moment comes that is waited for.
async fn wait(cx: &Cx<'_>, run: &Run) -> Result<(), Error> {
    let reason = waits::reason([run].into_iter());
    budget::note(cx, [run].into_iter());
    rest(cx, reason, run.until(), reconnect::needs([run].into_iter())).await
}

/// Lets go of a run that has nothing to do; `until` is when it has something by itself, `needs` what may give it something
/// when it is connected again.
async fn rest(
    cx: &Cx<'_>,
    reason: WaitReason,
    until: Option<Instant>,
    needs: Vec<Needed>,
) -> Result<(), Error> {
    reconnect::remember(cx, &needs).await?;
    let reason = if cx.snapshot.waits_for_its_turn() { WaitReason::Turn } else { reason };
    if let Some(until) = until {
        let millis = until.saturating_duration_since(Instant::now()).as_millis() as i64;
        cx.journal.set_timer(waits::TIMER, millis + 1);
    }
    cx.journal.note(Record::Waiting { reason, needs: needs.clone() });
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
    reconnect::look_again(cx, &needs).await;
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
