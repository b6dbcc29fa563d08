//! Calls that go on without us: a person is asked, or another run works on them. Their answers come as signals, and a run
//! that has nothing else to do holds no worker meanwhile.

use agentcore::{Answer, ToolCall};
use shared_models::{EffectState, RunId, WaitReason};
use tokio::time::Instant;

use super::{Cx, Run, dry, tools};
use crate::app::App;
use crate::call_key;
use crate::error::Error;
use crate::record::Record;
use crate::store::queue::Claimed;
use crate::store::signal::Signal;
use crate::store::{child, queue};
use crate::tell_many;
use crate::toolbox::Waiting;
use crate::transcript::Waited;

/// The timer that wakes a run when something is over that it waits for.
pub(super) const TIMER: &str = "wake";

/// What a run waits for whose conversations have nothing to do. Whatever needs a person is named before what does not.
pub(super) fn reason<'r>(runs: impl Iterator<Item = &'r Run> + Clone) -> WaitReason {
    // What an owner before us may still be at comes first: nothing can be said before that is over.
    if runs.clone().any(|run| !run.lingering.is_empty()) {
        return WaitReason::Timer;
    }
    // People are not asked about a call whose probe is asked again soon.
    let mut doubted = runs.clone().flat_map(|run| run.doubts.keys().map(move |call| (run, call)));
    let doubts = doubted.any(|(run, call)| !run.naps.contains_key(call));
    let early = runs.clone().any(|run| run.doubts.keys().any(|call| run.naps.contains_key(call)));
    let needs = runs.clone().any(|run| !run.needs.is_empty());
    let short = runs.clone().any(|run| !run.short.is_empty());
    let waiting = runs.flat_map(|run| run.waiting.values());
    let waits = |reason| waiting.clone().any(|waited| waited.reason == reason);
    match (doubts, needs) {
        (true, _) => WaitReason::Doubt,
        (_, true) => WaitReason::Auth,
        _ if waits(WaitReason::Approval) => WaitReason::Approval,
        _ if waits(WaitReason::Input) => WaitReason::Input,
        _ if waits(WaitReason::Callback) => WaitReason::Callback,
        _ if short => WaitReason::Budget,
        _ if (early || waits(WaitReason::Timer)) && !waits(WaitReason::Child) => WaitReason::Timer,
        _ => WaitReason::Child,
    }
}

/// Writes down that a call goes on outside.
pub(super) fn begin(cx: &Cx<'_>, run: &mut Run, call: &ToolCall, waiting: Waiting) {
    let reason = waiting.reason();
    let mut waited = Waited::of(reason);
    let (question, answer) = match waiting {
        Waiting::Input { question, answer } => (Some(question), answer),
        Waiting::Child(child) => {
            waited.child = Some(child);
            (None, None)
        }
        Waiting::Timer { until, left } => {
            waited.until = Some(until);
            run.naps.insert(call.id.clone(), Instant::now() + left);
            (None, None)
        }
        Waiting::Callback => (None, None),
    };
    cx.journal.note(Record::ToolWaiting {
        call_id: call.id.clone(),
        tool_name: call.name.clone(),
        reason,
        question,
        answer,
        child_run_id: waited.child,
        until: waited.until,
    });
    run.flights.remove(&call.id);
    run.waiting.insert(call.id.clone(), waited);
}

/// The call that a signal answers, and with what; none for other signals.
pub(super) async fn answer(
    cx: &Cx<'_>,
    signal: &Signal,
) -> Result<Option<(String, Answer)>, Error> {
    Ok(match signal {
        Signal::Answered { call_id, text, .. } => Some((call_id.clone(), Answer::ok(text))),
        Signal::ChildEnded { call_id, child_id } => {
            let mut tx = cx.app.db.begin(cx.claimed.tenant).await?;
            let end = child::end(&mut tx, (*child_id).into()).await?;
            end.map(|end| (call_id.clone(), end.answer()))
        }
        Signal::Cancel { .. }
        | Signal::Doubt { .. }
        | Signal::Pause { .. }
        | Signal::Resume { .. }
        | Signal::Decided { .. }
        | Signal::Room { .. }
        | Signal::Connected { .. }
        | Signal::Check { .. }
        | Signal::CalledBack { .. } => None,
    })
}

/// Takes in an answer. One that nobody waits for any more changes nothing.
pub(super) fn answered(
    cx: &Cx<'_>,
    run: &mut Run,
    signal: &Signal,
    (call_id, answer): (String, Answer),
) -> Result<(), Error> {
    let call = run.state.unanswered().find(|call| cx.journal.key(&call.id) == call_id).cloned();
    let waiting = call.filter(|call| run.waiting.remove(&call.id).is_some());
    let Some(call) = waiting else { return Ok(()) };
    if run.unmatched.remove(&call.id)
        && let Signal::Answered { text, by, .. } = signal
    {
        return dry::decided(cx, run, &call, (text, *by));
    }
    let mut effect = tools::effect(cx, &call, EffectState::Done);
    if let Signal::Answered { by, .. } = signal {
        effect.answered_by = Some(*by);
    }
    tools::answer(cx, run, &call, answer, effect)
}

/// A run that ends early takes the runs with it that work for it. Asked for before its own end is written, so that a
/// crash in between leaves nobody behind.
pub(super) async fn cancel_children(
    app: &App,
    claimed: &Claimed,
    reason: &str,
) -> Result<(), Error> {
    cancel_those(app, claimed, reason, |_| true).await
}

/// The same for those of them that work for calls of the conversations at these paths.
pub(super) async fn cancel_children_at(
    app: &App,
    claimed: &Claimed,
    paths: &[String],
    reason: &str,
) -> Result<(), Error> {
    cancel_those(app, claimed, reason, |call| {
        paths.iter().any(|path| path == call_key::split(call).0)
    })
    .await
}

async fn cancel_those(
    app: &App,
    claimed: &Claimed,
    reason: &str,
    of: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    let mut tx = app.db.begin(claimed.tenant).await?;
    let children = child::all_under_way(&mut tx, claimed.run).await?;
    tx.commit().await?;
    let children: Vec<RunId> =
        children.into_iter().filter(|(_, call)| of(call)).map(|(run, _)| run).collect();
    if children.is_empty() {
        return Ok(());
    }
    let reason = format!("the run it works for was stopped: {reason}");
    tell_many::cancel(app, claimed.tenant, &children, (None, &reason)).await?;
    Ok(())
}

/// Wakes the run that a call of which has just been answered by the end of this one. Lost, it costs one sweep.
pub(super) async fn wake_parent(app: &App, claimed: &Claimed) -> Result<(), sqlx::Error> {
    if claimed.root == claimed.run {
        return Ok(());
    }
    let mut tx = app.db.begin(claimed.tenant).await?;
    let Some(parent) = child::parent(&mut tx, claimed.run).await? else { return Ok(()) };
    queue::wake(&mut tx, parent).await?;
    tx.commit().await?;
    app.bell.ring_for(parent).await;
    Ok(())
}
