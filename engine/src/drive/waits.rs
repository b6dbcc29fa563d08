//! Calls that go on without us: a person is asked, or another run works on them. Their answers come as signals, and a run
//! that has nothing else to do holds no worker meanwhile.

use agentcore::{Answer, ToolCall};
use shared_models::{EffectState, RunStatus, WaitReason};

use super::{Cx, Run, tools};
use crate::app::App;
use crate::committer::printable;
use crate::error::Error;
use crate::record::Record;
use crate::store::queue::Claimed;
use crate::store::signal::{self, Signal};
use crate::store::{child, queue, run};
use crate::toolbox::Waiting;
use crate::transcript::Waited;

/// What a run waits for that has nothing to do. Whatever needs a person is named before what does not.
pub(super) fn reason(run: &Run) -> WaitReason {
    let asks = run.waiting.values().any(|waited| waited.reason == WaitReason::Input);
    match (run.doubts.is_empty(), asks) {
        (false, _) => WaitReason::Doubt,
        (true, true) => WaitReason::Input,
        (true, false) => WaitReason::Child,
    }
}

/// Writes down that a call goes on outside.
pub(super) fn begin(cx: &Cx<'_>, run: &mut Run, call: &ToolCall, waiting: Waiting) {
    let reason = waiting.reason();
    let (question, answer, child_run_id) = match waiting {
        Waiting::Input { question, answer } => (Some(question), answer, None),
        Waiting::Child(child) => (None, None, Some(child)),
    };
    cx.journal.note(Record::ToolWaiting {
        call_id: call.id.clone(),
        tool_name: call.name.clone(),
        reason,
        question,
        answer,
        child_run_id,
    });
    run.flights.remove(&call.id);
    run.waiting.insert(call.id.clone(), Waited { reason, child: child_run_id });
}

/// Takes in an answer. One that nobody waits for any more changes nothing.
pub(super) async fn answered(cx: &Cx<'_>, run: &mut Run, signal: &Signal) -> Result<(), Error> {
    let (call_id, answer) = match signal {
        Signal::Answered { call_id, text, .. } => (call_id, Answer::ok(text.clone())),
        Signal::ChildEnded { call_id, child_id } => {
            let mut tx = cx.app.db.begin(cx.claimed.tenant).await?;
            let Some(end) = child::end(&mut tx, (*child_id).into()).await? else { return Ok(()) };
            (call_id, end.answer())
        }
        Signal::Cancel { .. } | Signal::Doubt { .. } => return Ok(()),
    };
    let call = run.state.unanswered().find(|call| printable(&call.id) == *call_id).cloned();
    let waiting = call.filter(|call| run.waiting.remove(&call.id).is_some());
    let Some(call) = waiting else { return Ok(()) };
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
    let mut tx = app.db.begin(claimed.tenant).await?;
    let children = child::under_way(&mut tx, claimed.run).await?;
    for child in &children {
        if run::hold(&mut tx, *child).await?.is_none_or(RunStatus::terminal) {
            continue;
        }
        let reason = format!("the run it works for was stopped: {reason}");
        signal::insert(&mut tx, *child, &Signal::Cancel { by: None, reason }).await?;
        queue::wake(&mut tx, *child).await?;
    }
    tx.commit().await?;
    for child in children {
        app.bell.ring_for(child).await;
    }
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
