//! Asking a probe about calls in doubt, before people are asked and whenever they want it.
//!
//! That it is asked is written down before it is, so it is never asked more often than its tool says, whatever crashes.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use agentcore::{Answer, ToolCall};
use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use serde_json::{Value, json};
use shared_models::{Effect, EffectState, UserId};
use tokio::time::Instant;

use super::budget::{self, Grant, Refused};
use super::{Cx, Run, tools};
use crate::approvals::{self, Call};
use crate::error::Error;
use crate::probe::Probe;
use crate::record::Record;
use crate::snapshot::SnapshotTool;
use crate::store::journal;
use crate::toolbox::{self, CallCx, NotNow, Outcome};

/// Between two times that a probe is asked.
const PAUSE: Duration = Duration::from_millis(300);

/// What a probe has made of a call.
enum Said {
    Happened(String),
    DidNot(String),
    /// It is of no use to ask again.
    Nothing(String),
    /// It could not be reached, or says that it fails.
    Failed(String),
}

/// The probe of a tool, by the name that the model calls it.
pub(super) fn of_tool<'a>(cx: &'a Cx<'_>, name: &str) -> Option<&'a Probe> {
    cx.snapshot.tools.iter().find(|tool| tool.name == name)?.probe.as_ref()
}

/// Makes the calls that can be made; when there is none, finds out about those in doubt.
pub(super) async fn call(cx: &Cx<'_>, run: &mut Run) -> Result<(), Error> {
    if run.callable().is_empty() { ask(cx, run).await } else { tools::call(cx, run).await }
}

/// Asks about every call in doubt that has a probe which has not been asked often enough.
async fn ask(cx: &Cx<'_>, run: &mut Run) -> Result<(), Error> {
    while let Some((call_id, asked)) = run.probing.pop_first() {
        let doubted = run.doubts.contains_key(&call_id);
        let call = run.state.unanswered().find(|call| call.id == call_id && doubted).cloned();
        let Some(call) = call else { continue };
        let Some(probe) = of_tool(cx, &call.name).cloned() else { continue };
        ask_about(cx, run, &call, &probe, asked).await?;
    }
    Ok(())
}

async fn ask_about(
    cx: &Cx<'_>,
    run: &mut Run,
    call: &ToolCall,
    probe: &Probe,
    asked: u32,
) -> Result<(), Error> {
    let (call_id, tool_name) = (call.id.clone(), call.name.clone());
    let silent = |reason: String| {
        tracing::info!(reason, tool = call.name, "a probe does not tell");
        cx.journal.note(Record::ProbeSilent { call_id: call_id.clone(), reason });
    };
    if asked >= probe.attempts {
        silent("it was asked as often as it may be".into());
        return Ok(());
    }
    run.naps.remove(&call_id);
    let mut grant = match granted(cx, probe).await? {
        Ok(grant) => grant,
        Err(why) => {
            silent(why);
            return Ok(());
        }
    };
    let attempt = asked + 1;
    cx.journal.note(Record::ProbeAsked { call_id: call_id.clone(), tool_name, attempt });
    cx.journal.commit().await?;
    let early = too_early(cx, call, probe).await?;
    let args = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({}));
    let said = made(cx, call, probe, &args).await;
    grant.charge_time(cx);
    match said {
        Said::Happened(answer) => answered(cx, run, call, (true, &answer)),
        Said::DidNot(answer) => match early {
            None => answered(cx, run, call, (false, &answer)),
            Some((until, at)) => {
                cx.journal.note(Record::ProbeTooEarly { call_id: call_id.clone(), until });
                run.naps.insert(call_id, at);
                Ok(())
            }
        },
        Said::Failed(_) if attempt < probe.attempts => {
            run.probing.insert(call_id, attempt);
            tokio::time::sleep(PAUSE).await;
            Ok(())
        }
        Said::Failed(why) | Said::Nothing(why) => {
            silent(why);
            Ok(())
        }
    }
}

/// What the probe may take; or why there is no room for it.
async fn granted(cx: &Cx<'_>, probe: &Probe) -> Result<Result<Grant, String>, Error> {
    let Some(tool) = cx.snapshot.tools.iter().find(|tool| tool.tool_id == probe.tool_id) else {
        return Ok(Ok(Grant::default()));
    };
    match budget::for_tool(cx, tool, false).await {
        Ok(grant) => Ok(Ok(grant)),
        Err(Refused::Short(_)) => Ok(Err("a budget has no room for the probe".into())),
        Err(Refused::Unpriced(why)) => Err(anyhow::anyhow!(why).into()),
        Err(Refused::Failed(error)) => Err(error),
    }
}

/// Until when the call may still take effect, by the database's clock and by ours; none when that is over. Asked before the
/// probe is: what it sees is not newer.
async fn too_early(
    cx: &Cx<'_>,
    call: &ToolCall,
    probe: &Probe,
) -> Result<Option<(DateTime<Utc>, Instant)>, Error> {
    let millis = tools::effect(cx, call, EffectState::InDoubt).timeout_ms;
    let settles = probe.settles_after(Duration::from_millis(millis.max(0).unsigned_abs()));
    let mut tx = cx.app.db.begin(cx.claimed.tenant).await?;
    let (run, path) = (cx.claimed.run, cx.journal.path());
    let since = journal::in_doubt_since(&mut tx, run, path, &call.id).await?;
    Ok(since.and_then(|(since, now)| {
        let until = since + settles;
        let left = (until - now).to_std().ok().filter(|left| !left.is_zero())?;
        Some((until, Instant::now() + left))
    }))
}

async fn made(cx: &Cx<'_>, call: &ToolCall, probe: &Probe, args: &Value) -> Said {
    let tools = &cx.snapshot.tools;
    let place = tools.iter().position(|tool| tool.tool_id == probe.tool_id);
    let Some((place, tool)) = place.and_then(|at| Some((at, tools.get(at)?))) else {
        return Said::Nothing("the agent does not have the probe's tool".into());
    };
    if tool.effect != Effect::Read {
        return Said::Nothing("the probe's tool does not only read".into());
    }
    let key = cx.journal.key(&call.id);
    let seen = json!({ "args": args, "call_id": call.id, "run_id": cx.claimed.run,
        "idempotency_key": tools::effect(cx, call, EffectState::InDoubt).idempotency_key });
    let arguments = probe.arguments(&seen).to_string();
    let arguments = match cx.snapshot.arguments(place, &arguments) {
        Ok(arguments) => arguments,
        Err(why) => return Said::Nothing(why),
    };
    if needs_approval(cx, tool, &arguments).await {
        return Said::Nothing("people are to be asked before the probe's tool is called".into());
    }
    let call_cx = CallCx {
        tenant: cx.claimed.tenant,
        run: cx.claimed.run,
        call_id: format!("{key}#probe"),
        owner: cx.snapshot.owner,
        agent_id: cx.snapshot.agent_id,
        idempotency_key: format!("{key}#probe"),
        caps: cx.meter.caps(),
    };
    let lease = &cx.app.lease;
    let leave =
        async || if lease.holds() && lease.lapses() == cx.lapses { Ok(()) } else { Err(NotNow) };
    let asked = AssertUnwindSafe(toolbox::call(cx.app, &call_cx, tool, arguments, leave));
    match asked.catch_unwind().await {
        Ok(Outcome::Done(answer)) => match probe.judge(&answer, args).await {
            Ok(true) => Said::Happened(answer),
            Ok(false) => Said::DidNot(answer),
            Err(why) => Said::Nothing(why),
        },
        Ok(Outcome::Failed(why) | Outcome::Unknown(why)) => Said::Failed(why),
        Ok(Outcome::Refused(why)) => Said::Nothing(why),
        Ok(Outcome::Waits(_) | Outcome::Needs(_)) => Said::Nothing("it cannot answer now".into()),
        Err(_panic) => Said::Nothing("the probe crashed".into()),
    }
}

async fn needs_approval(cx: &Cx<'_>, tool: &SnapshotTool, arguments: &Value) -> bool {
    let rules: Vec<_> = tool.approval.iter().chain(&cx.snapshot.approvals).cloned().collect();
    let (agent, effect) = (cx.snapshot.agent_name.as_str(), tool.effect.as_str());
    approvals::policy(&rules, Call { tool: &tool.name, agent, effect, arguments }).await.is_some()
}

/// The probe knows.
fn answered(
    cx: &Cx<'_>,
    run: &mut Run,
    call: &ToolCall,
    (happened, said): (bool, &str),
) -> Result<(), Error> {
    run.doubts.remove(&call.id);
    cx.journal.note(Record::DoubtAnswered { call_id: call.id.clone(), happened, by: None });
    let mut effect = tools::effect(cx, call, EffectState::Answered);
    let (word, answer) = if happened {
        (
            "a probe found that it happened",
            Answer::ok(format!("It happened. A probe found: {said}")),
        )
    } else {
        let why = format!("The call did not happen. A probe found: {said}");
        ("a probe found that it did not happen", Answer::error(why))
    };
    effect.reason = Some(word.into());
    tools::answer(cx, run, call, answer, effect)
}

/// Somebody wants the probe asked, again if it was before.
pub(super) fn wanted(cx: &Cx<'_>, run: &mut Run, key: &str, by: UserId) {
    let call = run.state.unanswered().find(|call| cx.journal.key(&call.id) == key).cloned();
    let doubted = call.filter(|call| run.doubts.contains_key(&call.id));
    let Some(call) = doubted.filter(|call| of_tool(cx, &call.name).is_some()) else { return };
    cx.journal.note(Record::ProbeWanted { call_id: call.id.clone(), by });
    run.probing.insert(call.id, 0);
}
