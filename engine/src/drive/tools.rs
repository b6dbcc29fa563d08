//! Calling the tools of a turn, all at once.
//!
//! The ledger says `intended` before a call begins and `sent` before the bytes of an unsafe one leave. So after a crash
//! an unsafe call that was only intended is made, one that was sent is asked about, and everything else is repeated.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentcore::{Answer, Happened, Message, ToolCall};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use serde_json::Value;
use shared_models::{Effect, EffectState};
use sqlx::types::Uuid;

use super::approvals::{self, Gate};
use super::budget::{self, Grant};
use super::{Cx, Run, artifacts, deferral, doubt, dry, waits};
use crate::committer::{AppendError, EffectChange};
use crate::error::Error;
use crate::record::{ContentRef, Record};
use crate::snapshot::SnapshotTool;
use crate::toolbox::{self, CallCx, NotNow, Outcome};

/// A call under way with us.
#[derive(Clone, Debug, Default)]
pub(super) struct Flight {
    sent: Arc<AtomicBool>,
}

impl Flight {
    /// Whether its bytes may have left.
    pub(super) fn is_sent(&self) -> bool {
        self.sent.load(Ordering::Acquire)
    }
}

/// A call that can be made.
struct Ready<'a> {
    call: ToolCall,
    tool: &'a SnapshotTool,
    arguments: Value,
    grant: Grant,
}

/// Makes the calls of this turn that can be made, and takes in each answer as it comes.
pub(super) async fn call(cx: &Cx<'_>, run: &mut Run) -> Result<(), Error> {
    let mut ready = Vec::new();
    for call in run.callable() {
        if let Some(answer) = deferral::answer(cx, run, &call) {
            refuse(cx, run, &call, answer)?;
            continue;
        }
        if let Some(answer) = replayed(cx, run, &call) {
            refuse(cx, run, &call, answer)?;
            continue;
        }
        if let Some(answer) = artifacts::answer(cx, &call).await? {
            refuse(cx, run, &call, answer)?;
            continue;
        }
        match prepare(cx, run, &call) {
            Ok((tool, arguments)) => {
                if let Some(answer) = not_recorded(cx, &call) {
                    refuse(cx, run, &call, answer)?;
                    continue;
                }
                if dry::settle(cx, run, &call, tool).await? == dry::Word::Settled {
                    continue;
                }
                match approvals::gate(cx, run, (&call, tool), arguments).await? {
                    Gate::Open(arguments) => {
                        let again = run.was_begun(cx, &call);
                        let Some(grant) = budget::for_call(cx, run, (&call, tool), again).await?
                        else {
                            continue;
                        };
                        intend(cx, run, &call, tool);
                        ready.push(Ready { call, tool, arguments, grant });
                    }
                    Gate::Asked => {}
                    Gate::Refused(answer) => refuse(cx, run, &call, answer)?,
                }
            }
            Err(answer) => refuse(cx, run, &call, answer)?,
        }
    }
    if ready.is_empty() {
        return Ok(());
    }
    cx.journal.commit().await?;
    let calls: FuturesUnordered<_> = ready
        .into_iter()
        .map(|ready| {
            let flight = Flight::default();
            run.flights.insert(ready.call.id.clone(), flight.clone());
            make(cx, ready, flight)
        })
        .collect();
    take_all(cx, run, calls).await
}

/// The answer that the call got when it was made before, in a run that goes by a recording.
fn replayed(cx: &Cx<'_>, run: &Run, call: &ToolCall) -> Option<Answer> {
    let replay = cx.snapshot.replay.as_ref()?;
    // What other runs have said and done is not of this run.
    replay.answer(run.state.messages.get(cx.snapshot.history.len()..)?, call)
}

fn not_recorded(cx: &Cx<'_>, call: &ToolCall) -> Option<Answer> {
    cx.snapshot.replay.as_ref()?.refusal(call)
}

type Made = (ToolCall, Result<Outcome, AppendError>);

/// Takes in the answers as they come. Each is committed at once, but the last one, which goes with what follows from it.
async fn take_all(
    cx: &Cx<'_>,
    run: &mut Run,
    mut calls: FuturesUnordered<impl Future<Output = Made>>,
) -> Result<(), Error> {
    while let Some((call, outcome)) = calls.next().await {
        take(cx, run, &call, outcome?)?;
        while !calls.is_empty() && cx.journal.has_notes() {
            let mut commit = pin!(cx.journal.commit());
            // The other calls must go on meanwhile: one of them may be in the middle of a commit of its own, which ours
            // waits for.
            loop {
                tokio::select! {
                    biased;
                    done = &mut commit => {
                        done?;
                        break;
                    }
                    Some((call, outcome)) = calls.next() => take(cx, run, &call, outcome?)?,
                }
            }
        }
    }
    Ok(())
}

fn prepare<'a>(
    cx: &'a Cx<'_>,
    run: &Run,
    call: &ToolCall,
) -> Result<(&'a SnapshotTool, Value), Answer> {
    let place = cx.snapshot.tools.iter().position(|tool| tool.name == call.name);
    let Some((place, tool)) = place.and_then(|at| Some((at, cx.snapshot.tools.get(at)?))) else {
        let given = run.given.iter().map(|tool| tool.name.as_str());
        let own = cx.snapshot.tools.iter().map(|tool| tool.name.as_str());
        let names: Vec<&str> = own.chain(given).collect();
        let known = if names.is_empty() { "none".into() } else { names.join(", ") };
        return Err(Answer::error(format!("there is no tool `{}`; there are: {known}", call.name)));
    };
    let arguments = cx.snapshot.arguments(place, &call.arguments).map_err(Answer::error)?;
    Ok((tool, arguments))
}

fn find<'a>(cx: &'a Cx<'_>, name: &str) -> Option<&'a SnapshotTool> {
    cx.snapshot.tools.iter().find(|tool| tool.name == name)
}

/// Writes down that the call is about to be made, for the first time or again.
fn intend(cx: &Cx<'_>, run: &Run, call: &ToolCall, tool: &SnapshotTool) {
    let (call_id, tool_name) = (call.id.clone(), call.name.clone());
    if run.was_begun(cx, call) {
        cx.journal.note(Record::ToolRepeated { call_id, tool_name });
        return;
    }
    let idempotency_key = key(cx, call);
    cx.journal.note(Record::ToolIntended {
        call_id,
        tool_name,
        effect: tool.effect,
        idempotency_key,
    });
    cx.journal.set_effect(effect(cx, call, EffectState::Intended));
}

async fn make(cx: &Cx<'_>, ready: Ready<'_>, flight: Flight) -> Made {
    let Ready { call, tool, arguments, mut grant } = ready;
    let made = make_patiently(cx, &call, (tool, &arguments), &flight, &grant).await;
    grant.charge_time(cx);
    (call, made)
}

async fn make_patiently(
    cx: &Cx<'_>,
    call: &ToolCall,
    (tool, arguments): (&SnapshotTool, &Value),
    flight: &Flight,
    grant: &Grant,
) -> Result<Outcome, AppendError> {
    let call_cx = CallCx {
        tenant: cx.claimed.tenant,
        run: cx.claimed.run,
        call_id: cx.journal.key(&call.id),
        owner: cx.snapshot.owner,
        agent_id: cx.snapshot.agent_id,
        idempotency_key: key(cx, call).to_string(),
        caps: cx.meter.caps(),
    };
    for pause in REPEATS {
        match attempt(cx, &call_cx, call, &grant.within(tool), arguments, flight).await {
            // It may have happened, and a repeat does no harm: the model is not told of an error that may be none.
            Ok(Outcome::Unknown(why)) if tool.effect != Effect::Unsafe && grant.lasts(tool) => {
                tracing::info!(why, tool = tool.name, "a call broke off; it is made again");
                tokio::time::sleep(pause).await;
            }
            made => return made,
        }
    }
    attempt(cx, &call_cx, call, &grant.within(tool), arguments, flight).await
}

/// The pauses before a call that broke off is made again.
const REPEATS: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

async fn attempt(
    cx: &Cx<'_>,
    call_cx: &CallCx,
    call: &ToolCall,
    tool: &SnapshotTool,
    arguments: &Value,
    flight: &Flight,
) -> Result<Outcome, AppendError> {
    let mut lost = None;
    let leave = async || {
        may_leave(cx, call, tool, flight).await.map_err(|error| {
            lost = Some(error);
            NotNow
        })
    };
    let at = |when: &'static str| cx.pass(move || format!("{when} {}", call.name));
    at("before").await;
    let made = AssertUnwindSafe(toolbox::call(cx.app, call_cx, tool, arguments.clone(), leave));
    let outcome = match made.catch_unwind().await {
        Ok(outcome) => outcome,
        Err(_panic) if flight.is_sent() => Outcome::Unknown("the tool crashed".into()),
        Err(_panic) => Outcome::Refused("the tool crashed before anything was sent".into()),
    };
    at("after").await;
    metrics::counter!("engine_tool_calls_total", "outcome" => word(&outcome)).increment(1);
    lost.map_or(Ok(outcome), Err)
}

/// Asked right before bytes leave: is the run still ours? For an unsafe call the answer is a commit.
async fn may_leave(
    cx: &Cx<'_>,
    call: &ToolCall,
    tool: &SnapshotTool,
    flight: &Flight,
) -> Result<(), AppendError> {
    if tool.effect == Effect::Unsafe {
        // From here on a dropped call counts as sent: the commit cannot be called back.
        flight.sent.store(true, Ordering::Release);
        cx.journal.set_effect(effect(cx, call, EffectState::Sent));
        cx.journal.commit().await?;
    }
    flight.sent.store(true, Ordering::Release);
    cx.pass(|| format!("about to send {}", call.name)).await;
    let lease = &cx.app.lease;
    if lease.holds() && lease.lapses() == cx.lapses { Ok(()) } else { Err(AppendError::Fenced) }
}

/// Takes in what became of a call.
fn take(cx: &Cx<'_>, run: &mut Run, call: &ToolCall, outcome: Outcome) -> Result<(), Error> {
    let class = class(cx, call);
    let (state, reason, answer) = match outcome {
        Outcome::Waits(waiting) => {
            waits::begin(cx, run, call, waiting);
            return Ok(());
        }
        Outcome::Needs(needed) => {
            run.flights.remove(&call.id);
            run.wait_for(&call.id, needed);
            return Ok(());
        }
        Outcome::Done(text) => (EffectState::Done, None, Answer::ok(text)),
        Outcome::Refused(why) | Outcome::Failed(why) => {
            (EffectState::Failed, Some(why.clone()), Answer::error(why))
        }
        // The model would make another call of it, with another key.
        Outcome::Unknown(why) if matches!(class, Effect::Unsafe | Effect::Keyed) => {
            doubt::raise(cx, run, &call.id, &why);
            return Ok(());
        }
        Outcome::Unknown(why) => (EffectState::Failed, Some(why.clone()), Answer::error(why)),
    };
    let mut effect = effect(cx, call, state);
    effect.reason = reason;
    self::answer(cx, run, call, answer, effect)
}

/// A call that is not made: the model is told why, or what it wanted to know.
pub(super) fn refuse(
    cx: &Cx<'_>,
    run: &mut Run,
    call: &ToolCall,
    answer: Answer,
) -> Result<(), Error> {
    note_answer(cx, run, call, answer)
}

/// Answers a call of the ledger.
pub(super) fn answer(
    cx: &Cx<'_>,
    run: &mut Run,
    call: &ToolCall,
    answer: Answer,
    effect: EffectChange,
) -> Result<(), Error> {
    cx.journal.set_effect(effect);
    note_answer(cx, run, call, answer)
}

fn note_answer(cx: &Cx<'_>, run: &mut Run, call: &ToolCall, answer: Answer) -> Result<(), Error> {
    let answer = artifacts::put_aside(cx, answer)?;
    let message = cx.journal.keep(&said(call, &answer)).map_err(anyhow::Error::from)?;
    take_answer(cx, run, call, answer, message);
    Ok(())
}

/// Gives an answer that was given before, as it was kept then.
pub(super) fn repeat(
    cx: &Cx<'_>,
    run: &mut Run,
    call: &ToolCall,
    answer: Answer,
    kept: ContentRef,
) -> Result<(), Error> {
    let said = said(call, &answer);
    let body = serde_json::to_vec(&said).map_err(anyhow::Error::from)?;
    let message = if ContentRef::of(&body) == kept { kept } else { cx.journal.keep_bytes(body) };
    take_answer(cx, run, call, answer, message);
    Ok(())
}

fn said(call: &ToolCall, answer: &Answer) -> Message {
    Message::Tool {
        tool_call_id: call.id.clone(),
        tool_name: call.name.clone(),
        content: answer.content.clone(),
        error: answer.error,
    }
}

fn take_answer(cx: &Cx<'_>, run: &mut Run, call: &ToolCall, answer: Answer, message: ContentRef) {
    cx.journal.note(Record::ToolAnswered {
        call_id: call.id.clone(),
        tool_name: call.name.clone(),
        message,
        error: answer.error,
    });
    run.flights.remove(&call.id);
    run.step(Happened::Answered { call_id: call.id.clone(), answer });
}

/// What a repeat of the call would do; unsafe when the tool is not known.
pub(super) fn class(cx: &Cx<'_>, call: &ToolCall) -> Effect {
    find(cx, &call.name).map_or(Effect::Unsafe, |tool| tool.effect)
}

/// The call's row of the ledger.
pub(super) fn effect(cx: &Cx<'_>, call: &ToolCall, state: EffectState) -> EffectChange {
    EffectChange {
        call_id: cx.journal.key(&call.id),
        tool_name: call.name.clone(),
        class: class(cx, call),
        idempotency_key: key(cx, call),
        timeout_ms: find(cx, &call.name).map_or(0, |tool| i64::from(tool.timeout_ms)),
        state,
        reason: None,
        answered_by: None,
    }
}

/// The same for every attempt at this call, and for no other call of any run.
fn key(cx: &Cx<'_>, call: &ToolCall) -> Uuid {
    Uuid::new_v5(&cx.claimed.run.uuid(), cx.journal.key(&call.id).as_bytes())
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done(_) => "done",
        Outcome::Refused(_) => "refused",
        Outcome::Failed(_) => "failed",
        Outcome::Unknown(_) => "unknown",
        Outcome::Waits(_) => "waits",
        Outcome::Needs(_) => "needs_reconnect",
    }
}
