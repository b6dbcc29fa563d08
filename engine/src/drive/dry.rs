//! The calls of a dry run: they are answered from the journal of the run that it is a fork of, and nothing reaches the
//! world. What was not called there is put to a person, refused or made, as whoever forked the run has said.

use agentcore::{Answer, Message, ToolCall};
use anyhow::Context as _;
use shared_models::{ToolKind, UserId};

use super::{Cx, Run, tools, waits};
use crate::error::Error;
use crate::fork::{self, Decision, Dry, Made, Unmatched};
use crate::record::{ContentRef, Record};
use crate::replay;
use crate::snapshot::SnapshotTool;
use crate::store::content;
use crate::toolbox::Waiting;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It is made like any other.
    Made,
    /// It has its answer, or waits for it.
    Settled,
}

/// What a dry run's calls are answered with; none in a live one.
pub(super) fn of<'a>(cx: &'a Cx<'_>) -> Option<&'a Dry> {
    cx.snapshot.fork.as_ref()?.dry.as_ref()
}

/// Answers a call in place of its tool, if the run is dry. What people are asked before a call is made is not asked: none is.
pub(super) async fn settle(
    cx: &Cx<'_>,
    run: &mut Run,
    call: &ToolCall,
    tool: &SnapshotTool,
) -> Result<Word, Error> {
    let Some(dry) = of(cx).filter(|_| !run.let_through.contains(&call.id)) else {
        return Ok(Word::Made);
    };
    let found = dry.find(cx.journal.path(), replay::own(&run.state), call);
    if let Some((made, answer)) = found {
        repeat(cx, run, call, (made, answer)).await?;
        return Ok(Word::Settled);
    }
    if dry.unmatched != Unmatched::Refuse && asks_people(tool) {
        return Ok(Word::Made);
    }
    let (call_id, tool_name) = (call.id.clone(), call.name.clone());
    cx.journal.note(Record::ToolUnmatched { call_id, tool_name, then: dry.unmatched });
    let may_be_called = dry.callable.contains(&tool.name);
    match dry.unmatched {
        Unmatched::Ask => {
            run.unmatched.insert(call.id.clone());
            let (question, answer) = (fork::question(call), Some(fork::form(may_be_called)));
            waits::begin(cx, run, call, Waiting::Input { question, answer });
        }
        Unmatched::Refuse => tools::refuse(cx, run, call, Answer::error(refusal(call, None)))?,
        Unmatched::Live if may_be_called => {
            run.let_through.insert(call.id.clone());
            return Ok(Word::Made);
        }
        Unmatched::Live => tools::refuse(cx, run, call, Answer::error(not_callable(call)))?,
    }
    Ok(Word::Settled)
}

/// A question to a person is one in a dry run, too.
fn asks_people(tool: &SnapshotTool) -> bool {
    tool.kind == ToolKind::Builtin && tool.config["builtin"] == "ask_human"
}

fn refusal(call: &ToolCall, reason: Option<&str>) -> String {
    let said = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    format!(
        "This is a dry run without a recorded answer to this call of `{}`, so it was not made{said}",
        call.name
    )
}

fn not_callable(call: &ToolCall) -> String {
    let why =
        "the agent no longer has the tool as it was, or its hooks would have to be told of it";
    refusal(call, Some(why))
}

/// Tells the model what it was told then. An answer that reads the same is referred to, not kept again.
async fn repeat(
    cx: &Cx<'_>,
    run: &mut Run,
    call: &ToolCall,
    (made, answer): (&Made, ContentRef),
) -> Result<(), Error> {
    let mut tx = cx.app.db.begin(cx.claimed.tenant).await?;
    let body = content::find(&mut tx, cx.claimed.root, &[answer]).await?.remove(&answer);
    drop(tx);
    let body = body.context("what the other run was told is gone")?;
    let said = serde_json::from_slice(&body).context("what the other run was told")?;
    let Message::Tool { content, error, .. } = said else {
        return Err(anyhow::anyhow!("a recorded answer is something else").into());
    };
    cx.journal.note(Record::ToolReplayed {
        call_id: call.id.clone(),
        tool_name: call.name.clone(),
        of_call_id: made.call_id.clone(),
        edited: made.edited,
    });
    tools::repeat(cx, run, call, Answer { content, error }, answer)
}

/// Takes in what a person has said about a call.
pub(super) fn decided(
    cx: &Cx<'_>,
    run: &mut Run,
    call: &ToolCall,
    (text, by): (&str, UserId),
) -> Result<(), Error> {
    // It was looked at when it was given.
    let said: fork::Said = serde_json::from_str(text).context("what was said about a call")?;
    let may_be_called = of(cx).is_some_and(|dry| dry.callable.contains(&call.name));
    let decision = match said.decision {
        Decision::Live if !may_be_called => Decision::Refuse,
        decision => decision,
    };
    let (call_id, tool_name) = (call.id.clone(), call.name.clone());
    cx.journal.note(Record::UnmatchedDecided { call_id, tool_name, decision, by });
    match decision {
        Decision::Result => tools::refuse(cx, run, call, Answer::ok(said.result())),
        Decision::Refuse => {
            let why = refusal(call, said.reason.as_deref());
            tools::refuse(cx, run, call, Answer::error(why))
        }
        Decision::Live => {
            run.let_through.insert(call.id.clone());
            Ok(())
        }
    }
}
