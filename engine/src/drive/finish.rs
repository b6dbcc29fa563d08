//! How runs end.

use agentcore::{FinishReason, Happened, Outcome, Usage};
use shared_models::events::run::RunFinished;
use shared_models::{Effect, EffectState, MicroUsd, RunStatus, UserId, WaitReason};

use super::interrupt::Stop;
use super::{Cx, Run, budget, doubt, tools, waits};
use crate::app::App;
use crate::call_key;
use crate::committer::{EffectChange, printable};
use crate::conversations;
use crate::error::Error;
use crate::journal::Journal;
use crate::record::{ContentRef, Record};
use crate::store::effect;
use crate::store::queue::Claimed;

/// The loop has come to its own end.
pub(super) async fn ended(cx: &Cx<'_>, run: &Run, outcome: &Outcome) -> Result<(), Error> {
    // A hook may end it while calls go on outside.
    if run.waiting.values().any(|waited| waited.child.is_some()) {
        waits::cancel_children(cx.app, cx.claimed, "it has ended").await?;
    }
    let status = status(outcome);
    write(cx, &Sum::of(run), outcome, status).await
}

/// What a run is that has come to its own end.
pub(super) fn status(outcome: &Outcome) -> RunStatus {
    match outcome.finish_reason {
        FinishReason::Stop | FinishReason::MaxSteps => RunStatus::Succeeded,
        FinishReason::LoopDetected | FinishReason::Error => RunStatus::Failed,
        FinishReason::Cancelled => RunStatus::Cancelled,
    }
}

/// What a run comes to.
#[derive(Clone, Copy)]
pub(super) struct Sum {
    pub(super) steps: u32,
    pub(super) usage: Usage,
    /// The message whose text is the output.
    pub(super) output: Option<ContentRef>,
}

impl Sum {
    fn of(run: &Run) -> Self {
        Self { steps: run.state.steps, usage: run.state.usage, output: run.output }
    }
}

/// Somebody or the deadline ended it. Calls under way have been given up: what may have happened is in doubt and stays
/// visible as such.
pub(super) async fn stopped(cx: &Cx<'_>, run: &mut Run, stop: Stop) -> Result<(), Error> {
    let (status, by, reason) = words(stop);
    waits::cancel_children(cx.app, cx.claimed, &reason).await?;
    settle_calls(cx, run, &reason);
    budget::note_changes(cx).await?;
    cx.journal.note(Record::Stopped { reason: reason.clone(), by });
    run.step(Happened::Cancelled { reason });
    let Some(outcome) = run.state.outcome().cloned() else {
        return Err(anyhow::anyhow!("a stopped run does not end").into());
    };
    write(cx, &Sum::of(run), &outcome, status).await
}

/// What a run is that was stopped like this, who did it, and why.
pub(super) fn words(stop: Stop) -> (RunStatus, Option<UserId>, String) {
    match stop {
        Stop::Cancelled { by, reason } => (RunStatus::Cancelled, by, reason),
        Stop::TimedOut => (RunStatus::TimedOut, None, "the run's deadline has passed".to_owned()),
    }
}

/// Gives up the calls under way: what may have happened is in doubt.
pub(super) fn settle_calls(cx: &Cx<'_>, run: &mut Run, reason: &str) {
    let lingering: Vec<String> = std::mem::take(&mut run.lingering).into_keys().collect();
    let open = run.state.unanswered().filter(|call| !run.doubts.contains_key(&call.id));
    for call in open.cloned().collect::<Vec<_>>() {
        let sent = run.flights.get(&call.id).is_some_and(tools::Flight::is_sent);
        let harmful = tools::class(cx, &call) == Effect::Unsafe;
        let waited = run.waiting.get(&call.id).map(|waited| waited.reason);
        // The other side is at it, whether we wait for it or not.
        let sent = sent || waited == Some(WaitReason::Callback);
        if (sent && harmful) || lingering.contains(&call.id) {
            doubt::raise(cx, run, &call.id, "the run was stopped while the call was under way");
        } else if run.flights.contains_key(&call.id)
            || run.known.contains_key(&cx.journal.key(&call.id))
        {
            let mut effect = tools::effect(cx, &call, EffectState::Failed);
            effect.reason = Some(format!("given up: {reason}"));
            cx.journal.set_effect(effect);
        }
    }
}

/// Writes the end down and tells of it.
pub(super) async fn write(
    cx: &Cx<'_>,
    sum: &Sum,
    outcome: &Outcome,
    status: RunStatus,
) -> Result<(), Error> {
    let end = End {
        status,
        reason: outcome.finish_reason,
        error_code: outcome.error.as_ref().map(|failure| code(failure, status)),
        error: outcome.error.as_ref().map(|failure| printable(&failure.message)),
    };
    let (Sum { steps, usage, output }, cost) = (*sum, cx.cost.so_far());
    cx.journal.note(Record::Finished {
        status,
        finish_reason: end.reason,
        message: output,
        error_code: end.error_code.clone(),
        error: end.error.clone(),
        steps,
        usage,
        cost,
    });
    cx.journal.change(|change| {
        change.usage = Some(usage);
        change.steps = Some(steps);
        change.output = Some(outcome.output.clone());
    });
    end.commit(cx.app, cx.claimed, &cx.journal, (usage, cost)).await?;
    settle_conversation(cx).await;
    Ok(())
}

/// What was said goes into the run's conversation, and the next run of that begins. Lost, it costs one sweep.
pub(super) async fn settle_conversation(cx: &Cx<'_>) {
    let Some(recalled) = &cx.snapshot.recalled else { return };
    let id = recalled.conversation_id;
    if let Err(error) = conversations::settle(cx.app, cx.claimed.tenant, id).await {
        tracing::info!(%error, conversation.id = %id, "a conversation will be settled by a sweep");
    }
}

fn code(failure: &agentcore::Failure, status: RunStatus) -> String {
    if status == RunStatus::TimedOut {
        return "deadline".into();
    }
    serde_json::to_value(failure.code)
        .ok()
        .and_then(|code| code.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// Ends a run that takes its workers down: too many have had it without any progress.
pub(super) async fn poisoned(app: &App, claimed: &Claimed, journal: &Journal) -> Result<(), Error> {
    let claims = app.runs.max_claims;
    let end = End {
        status: RunStatus::Failed,
        reason: FinishReason::Error,
        error_code: Some("poison".into()),
        error: Some(format!("taken up {claims} times without any progress")),
    };
    doubt_what_was_sent(app, claimed, journal).await?;
    let usage = Usage::default();
    journal.note(Record::Finished {
        status: end.status,
        finish_reason: end.reason,
        message: None,
        error_code: end.error_code.clone(),
        error: end.error.clone(),
        steps: 0,
        usage,
        cost: None,
    });
    waits::cancel_children(app, claimed, "too many attempts at it have ended early").await?;
    tracing::error!(claims, "the run is poison: it is given up");
    end.commit(app, claimed, journal, (usage, None)).await
}

/// The state of such a run may be unreadable, its ledger is not: what may have happened stays visible.
async fn doubt_what_was_sent(app: &App, claimed: &Claimed, journal: &Journal) -> Result<(), Error> {
    let mut tx = app.db.begin(claimed.tenant).await?;
    let calls = effect::list(&mut tx, claimed.run).await?;
    drop(tx);
    for call in calls {
        if call.state() != EffectState::Sent || call.effect() != Effect::Unsafe {
            continue;
        }
        let reason = "the run was given up before it could say what became of the call";
        let (path, call_id) = call_key::split(&call.call_id);
        journal.at(path).note(Record::ToolInDoubt {
            call_id: call_id.to_owned(),
            tool_name: call.tool_name.clone(),
            reason: reason.into(),
            probe: false,
        });
        journal.set_effect(EffectChange {
            class: Effect::Unsafe,
            call_id: call.call_id,
            tool_name: call.tool_name,
            idempotency_key: call.idempotency_key,
            timeout_ms: call.timeout_ms,
            state: EffectState::InDoubt,
            reason: Some(reason.into()),
            answered_by: None,
        });
    }
    Ok(())
}

struct End {
    status: RunStatus,
    reason: FinishReason,
    error_code: Option<String>,
    error: Option<String>,
}

impl End {
    async fn commit(
        self,
        app: &App,
        claimed: &Claimed,
        journal: &Journal,
        (usage, cost): (Usage, Option<MicroUsd>),
    ) -> Result<(), Error> {
        let Self { status, reason, error_code, error } = self;
        let event = RunFinished {
            run: claimed.reference(),
            status,
            error: error.clone(),
            error_code: error_code.clone(),
            usage,
            cost,
        };
        journal.emit(&event).map_err(anyhow::Error::from)?;
        journal.change(|change| {
            change.status = Some(status);
            change.finish_reason = Some(reason.as_str());
            change.error_code = error_code;
            change.error = error;
        });
        journal.commit().await?;
        app.stage.settled(claimed.run);
        if let Err(error) = waits::wake_parent(app, claimed).await {
            tracing::info!(%error, "the run above will find the answer by itself");
        }
        metrics::counter!("engine_runs_finished_total", "status" => status.as_str()).increment(1);
        tracing::info!(%status, "the run has ended");
        Ok(())
    }
}
