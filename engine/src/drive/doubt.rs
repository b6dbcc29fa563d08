//! Calls of which nobody here knows whether they happened.

use std::time::Duration;

use agentcore::Answer;
use shared_models::EffectState;
use tokio::time::Instant;

use super::{Cx, Run, probe, tools};
use crate::error::Error;
use crate::record::Record;
use crate::store::effect;
use crate::store::signal::Signal;

const CRASHED: &str = "the process that made the call ended before it could say what became of it";

/// Until when an owner before us may still be at the call: its lease and the tool's time limit.
pub(super) fn lingers(known: &effect::Row, lease: Duration) -> Instant {
    let longest = lease.as_millis() as i64 + known.timeout_ms;
    let left = longest - known.sent_ms_ago.unwrap_or_default();
    Instant::now() + Duration::from_millis(u64::try_from(left).unwrap_or(0))
}

/// Declares the lost calls in doubt whose time is over.
pub(super) fn declare(cx: &Cx<'_>, run: &mut Run) {
    if run.lingering.is_empty() {
        return;
    }
    let now = Instant::now();
    let over: Vec<String> = run
        .lingering
        .iter()
        .filter(|(_, until)| **until <= now)
        .map(|(call, _)| call.clone())
        .collect();
    for call_id in over {
        run.lingering.remove(&call_id);
        raise(cx, run, &call_id, CRASHED);
    }
}

/// Writes down that a call is in doubt.
pub(super) fn raise(cx: &Cx<'_>, run: &mut Run, call_id: &str, reason: &str) {
    let Some(call) = run.state.unanswered().find(|call| call.id == call_id).cloned() else {
        return;
    };
    tracing::warn!(call_id, tool = call.name, "an unsafe call is in doubt");
    cx.journal.note(Record::ToolInDoubt {
        call_id: call_id.into(),
        tool_name: call.name.clone(),
        reason: reason.into(),
        probe: probe::of_tool(cx, &call.name).is_some(),
    });
    if probe::of_tool(cx, &call.name).is_some() {
        run.probing.insert(call_id.into(), 0);
    }
    let mut effect = tools::effect(cx, &call, EffectState::InDoubt);
    effect.reason = Some(reason.into());
    cx.journal.set_effect(effect);
    run.doubts.insert(call_id.into(), reason.into());
}

/// Takes in what somebody who knows has said.
pub(super) fn answered(cx: &Cx<'_>, run: &mut Run, signal: &Signal) -> Result<(), Error> {
    if let Signal::Check { call_id, by } = signal {
        probe::wanted(cx, run, call_id, *by);
        return Ok(());
    }
    let Signal::Doubt { call_id, happened, result, by } = signal else { return Ok(()) };
    let call = run.state.unanswered().find(|call| cx.journal.key(&call.id) == *call_id).cloned();
    let doubted = call.filter(|call| run.doubts.remove(&call.id).is_some());
    let Some(call) = doubted else { return Ok(()) };
    let answer = match (*happened, result) {
        (true, Some(result)) => Answer::ok(result),
        (true, None) => Answer::ok("It happened; what it returned is not known."),
        (false, result) => {
            let result = result.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
            Answer::error(format!("The call did not happen{result}"))
        }
    };
    cx.journal.note(Record::DoubtAnswered {
        call_id: call.id.clone(),
        happened: *happened,
        by: Some(*by),
    });
    let mut effect = tools::effect(cx, &call, EffectState::Answered);
    effect.answered_by = Some(*by);
    effect.reason = Some(if *happened { "it happened".into() } else { "it did not happen".into() });
    tools::answer(cx, run, &call, answer, effect)
}
