//! What the model is told of a call, and what is written down of it.

use agentcore::{Answer, Happened, Message, ToolCall};
use shared_models::{Effect, EffectState};

use super::{class, effect};
use crate::committer::EffectChange;
use crate::drive::{Cx, Run, artifacts, doubt, waits};
use crate::error::Error;
use crate::record::{ContentRef, Record};
use crate::toolbox::Outcome;

/// Takes in what became of a call.
pub(super) fn take(
    cx: &Cx<'_>,
    run: &mut Run,
    call: &ToolCall,
    outcome: Outcome,
) -> Result<(), Error> {
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
pub(in crate::drive) fn refuse(
    cx: &Cx<'_>,
    run: &mut Run,
    call: &ToolCall,
    answer: Answer,
) -> Result<(), Error> {
    note_answer(cx, run, call, answer)
}

/// Answers a call of the ledger.
pub(in crate::drive) fn answer(
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
pub(in crate::drive) fn repeat(
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
