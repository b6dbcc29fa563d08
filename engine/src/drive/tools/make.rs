//! One call, made: what is asked right before its bytes leave, and when it is made again.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::time::Duration;

use agentcore::ToolCall;
use futures::FutureExt as _;
use serde_json::Value;
use shared_models::{Effect, EffectState};

use super::{Flight, Ready, effect, key};
use crate::committer::AppendError;
use crate::drive::Cx;
use crate::drive::budget::Grant;
use crate::snapshot::SnapshotTool;
use crate::toolbox::{self, CallCx, NotNow, Outcome};

/// A call, and what became of it.
pub(super) type Made = (ToolCall, Result<Outcome, AppendError>);

/// Makes it, again where that does no harm, and says what became of it.
pub(super) async fn make(cx: &Cx<'_>, ready: Ready<'_>, flight: Flight) -> Made {
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
    cx.journal.goes_on().await?;
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
