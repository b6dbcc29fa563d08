//! What the other side has said of a call that it had taken, or that it has said nothing in time.

use agentcore::Answer;
use shared_models::{Effect, EffectState, WaitReason};

use super::{Cx, Run, doubt, tools};
use crate::error::Error;
use crate::store::callback;
use crate::store::signal::Signal;

/// An answer, or that none has come.
pub(super) struct Back {
    key: String,
    answer: Option<Answer>,
}

/// What has become of a call that the other side had taken; none for other signals.
pub(super) async fn look_up(cx: &Cx<'_>, signal: &Signal) -> Result<Option<Back>, Error> {
    let Signal::CalledBack { call_id } = signal else { return Ok(None) };
    let mut tx = cx.app.db.begin(cx.claimed.tenant).await?;
    let found = callback::find(&mut tx, cx.claimed.run, call_id).await?;
    Ok(found.filter(|row| row.answered || row.over).map(|row| {
        let said = row.result.unwrap_or_default();
        let answer = if row.failed { Answer::error(said) } else { Answer::ok(said) };
        Back { key: row.call_key, answer: row.answered.then_some(answer) }
    }))
}

/// Takes it in. An answer also settles a doubt: whoever made the call may have died before it could say that the call was
/// taken. That none has come leaves open whether an unsafe call has happened.
pub(super) fn take(cx: &Cx<'_>, run: &mut Run, back: Back) -> Result<(), Error> {
    let Back { key, answer } = back;
    let Some(call) = run.state.unanswered().find(|call| cx.journal.key(&call.id) == key).cloned()
    else {
        return Ok(());
    };
    let waits = |run: &Run| {
        run.waiting.get(&call.id).is_some_and(|waited| waited.reason == WaitReason::Callback)
    };
    let waited = waits(run);
    let Some(answer) = answer else {
        if waited {
            run.waiting.remove(&call.id);
            return late(cx, run, &call);
        }
        return Ok(());
    };
    let doubted = run.doubts.remove(&call.id).is_some() | run.lingering.remove(&call.id).is_some();
    if !waited && !doubted {
        return Ok(());
    }
    run.waiting.remove(&call.id);
    let state = if answer.error { EffectState::Failed } else { EffectState::Done };
    let effect = tools::effect(cx, &call, state);
    tools::answer(cx, run, &call, answer, effect)
}

fn late(cx: &Cx<'_>, run: &mut Run, call: &agentcore::ToolCall) -> Result<(), Error> {
    const LATE: &str = "the other side took the call and did not say in time what became of it";
    if matches!(tools::class(cx, call), Effect::Unsafe | Effect::Keyed) {
        doubt::raise(cx, run, &call.id, LATE);
        return Ok(());
    }
    let mut effect = tools::effect(cx, call, EffectState::Failed);
    effect.reason = Some(LATE.into());
    tools::answer(cx, run, call, Answer::error(LATE), effect)
}
