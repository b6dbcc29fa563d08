//! Calling the tools of a turn, all at once.
//!
//! The ledger says `intended` before a call begins and `sent` before the bytes of an unsafe one leave. So after a crash
//! an unsafe call that was only intended is made, one that was sent is asked about, and everything else is repeated.

mod answers;
mod ledger;
mod make;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agentcore::{Answer, ToolCall};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde_json::Value;
use shared_models::EffectState;

use super::approvals::{self, Gate};
use super::budget::{self, Grant};
use super::{Cx, Run, artifacts, deferral, dry};
use crate::error::Error;
use crate::record::Record;
use crate::snapshot::SnapshotTool;

use answers::take;
pub(super) use answers::{answer, refuse, repeat};
use ledger::key;
pub(super) use ledger::{class, effect};
use make::{Made, make};

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
