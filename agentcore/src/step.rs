//! The loop as a pure function: what happened goes in, what to do next comes out.
//!
//! No clock, no network, no randomness: whoever writes down what happened can replay it and arrives at an equal state
//! with the same commands. That is how a run survives its process.
//!
//! Something that cannot be true of the state at hand (a reply nobody waits for, a second answer to one call) is
//! ignored, so a driver may deliver twice.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use shared_models::message::{Message, ToolCall};
use shared_models::run::FinishReason;
use shared_models::usage::Usage;

use crate::conversation::{Answer, Conversation, Failure, FailureCode, Outcome, Pending, Status};
use crate::model::{Reply, ReplyFinish};
use crate::output;
use crate::validate::without_excess;
use crate::window::{self, Summary};

/// What a driver tells a conversation.
///
/// ```
/// use agentcore::{Conversation, Happened, Message, step};
///
/// let mut conversation = Conversation::new("");
/// step(&mut conversation, Happened::Started { input: vec![Message::user("Hi")] });
/// step(&mut conversation, Happened::Cancelled { reason: "never mind".into() });
/// assert!(conversation.outcome().is_some());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happened {
    /// The conversation begins, with any history before the new input.
    Started { input: Vec<Message> },
    /// The model answered.
    Replied(Reply),
    /// The model did not answer, and asking again is of no use.
    ModelFailed(Failure),
    /// A tool call came to an end, in any order among the calls of its turn.
    Answered { call_id: String, answer: Answer },
    /// The model wrote a summary of the first `upto` messages.
    Summarised { upto: usize, text: String, usage: Usage },
    /// There is no summary to be had; the model is asked with everything, and may find it too long.
    NotSummarised,
    /// Whoever drives the conversation cannot go on.
    Aborted(Failure),
    /// Nobody wants the result any more.
    Cancelled { reason: String },
}

/// What a conversation asks of its driver.
///
/// ```
/// use agentcore::{Command, Conversation, Happened, Message, step};
///
/// let mut conversation = Conversation::new("");
/// let due = step(&mut conversation, Happened::Started { input: vec![Message::user("Hi")] });
/// assert_eq!(due, [Command::CallModel]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Ask the model with [`Conversation::prompt`].
    CallModel,
    /// Ask the model with [`Conversation::summary_prompt`], without tools, and report the summary.
    Summarise { upto: usize },
    /// Call all of these, concurrently, and report each answer.
    CallTools(Vec<ToolCall>),
    /// There is nothing left to do.
    Finish(Outcome),
}

/// Takes in what happened and says what to do next; nothing while answers are outstanding.
///
/// ```
/// use agentcore::{Answer, Command, Conversation, Happened, Message, Reply, ToolCall, step};
///
/// let mut conversation = Conversation::new("");
/// step(&mut conversation, Happened::Started { input: vec![Message::user("Look!")] });
///
/// let call = ToolCall { id: "c1".into(), name: "look".into(), arguments: "{}".into() };
/// let reply = Reply { tool_calls: vec![call.clone()], ..Reply::default() };
/// assert_eq!(step(&mut conversation, Happened::Replied(reply)), [Command::CallTools(vec![call])]);
///
/// let answer = Answer::ok("a bird");
/// let due = step(&mut conversation, Happened::Answered { call_id: "c1".into(), answer });
/// assert_eq!(due, [Command::CallModel]);
/// ```
pub fn step(state: &mut Conversation, happened: Happened) -> Vec<Command> {
    match (&state.status, happened) {
        (Status::New, Happened::Started { input }) => {
            state.messages = input;
            think(state)
        }
        // Also where a summary was due: a journal of someone who knew of none, or of another window, is as good.
        (Status::Thinking | Status::Summarising { .. }, Happened::Replied(reply)) => {
            replied(state, reply)
        }
        (Status::Thinking | Status::Summarising { .. }, Happened::ModelFailed(failure)) => {
            finish(state, FinishReason::Error, Some(failure))
        }
        (
            Status::Thinking | Status::Summarising { .. },
            Happened::Summarised { upto, text, usage },
        ) => summarised(state, upto, text, usage),
        (Status::Acting, Happened::Answered { call_id, answer }) => {
            answered(state, &call_id, answer)
        }
        (Status::Summarising { .. }, Happened::NotSummarised) => ask(state),
        (status, Happened::Aborted(failure)) if is_open(status) => {
            close_turn(state, "not called");
            finish(state, FinishReason::Error, Some(failure))
        }
        (status, Happened::Cancelled { reason }) if is_open(status) => {
            close_turn(state, "cancelled");
            let failure = Failure { code: FailureCode::Cancelled, message: reason };
            finish(state, FinishReason::Cancelled, Some(failure))
        }
        _ => Vec::new(),
    }
}

fn is_open(status: &Status) -> bool {
    !matches!(status, Status::Finished(_))
}

/// What is due in this state: the same commands `step` gave, less the calls answered since. A driver that takes over
/// from a dead one starts here.
///
/// ```
/// use agentcore::step::{due, step};
/// use agentcore::{Conversation, Happened, Message};
///
/// let mut conversation = Conversation::new("");
/// let commands = step(&mut conversation, Happened::Started { input: vec![Message::user("Hi")] });
///
/// // Kept, and read back by whoever goes on with it.
/// let kept = serde_json::to_string(&conversation)?;
/// assert_eq!(due(&serde_json::from_str(&kept)?), commands);
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn due(state: &Conversation) -> Vec<Command> {
    match &state.status {
        Status::New => Vec::new(),
        Status::Thinking => vec![Command::CallModel],
        Status::Summarising { upto } => vec![Command::Summarise { upto: *upto }],
        Status::Acting => vec![Command::CallTools(state.unanswered().cloned().collect())],
        Status::Finished(outcome) => vec![Command::Finish(outcome.clone())],
    }
}

/// Asks the model, after a summary when the conversation has become too long for it.
fn think(state: &mut Conversation) -> Vec<Command> {
    let upto = state.window.and_then(|window| {
        let summary = state.summary.as_ref();
        window::to_summarise(window, &state.instructions, summary, &state.messages)
    });
    let Some(upto) = upto else { return ask(state) };
    state.status = Status::Summarising { upto };
    vec![Command::Summarise { upto }]
}

fn summarised(state: &mut Conversation, upto: usize, text: String, usage: Usage) -> Vec<Command> {
    state.summary = Some(Summary { text, messages: upto.min(state.messages.len()) });
    state.usage += usage;
    ask(state)
}

fn ask(state: &mut Conversation) -> Vec<Command> {
    state.status = Status::Thinking;
    vec![Command::CallModel]
}

fn replied(state: &mut Conversation, reply: Reply) -> Vec<Command> {
    state.steps += 1;
    state.usage += reply.usage;
    if !reply.content.is_empty() {
        state.last_output.clone_from(&reply.content);
    }
    let calls = with_unique_ids(state, reply.tool_calls);
    let is_silent = reply.content.is_empty() && calls.is_empty();
    let goes_on = reply.finish == ReplyFinish::Pause && calls.is_empty();
    state.messages.push(Message::Assistant {
        content: reply.content,
        tool_calls: calls.clone(),
        reasoning: reply.reasoning,
        replay: reply.replay,
    });
    state.empty_replies = if is_silent && !goes_on { state.empty_replies + 1 } else { 0 };
    match calls.is_empty() {
        true if goes_on => next_turn(state),
        true if is_silent && reply.finish == ReplyFinish::ContentFilter => refused(state),
        true if is_silent => silent(state),
        true => concluded(state),
        false => act(state, calls),
    }
}

fn act(state: &mut Conversation, calls: Vec<ToolCall>) -> Vec<Command> {
    state.pending = calls.iter().map(|call| Pending { call: call.clone(), answer: None }).collect();
    if state.repetition.is_loop(&calls) {
        let times = state.repetition.times();
        close_turn(state, "not called: the same calls were made again and again");
        let message = format!("the model made the same tool calls {times} times in a row");
        let failure = Failure { code: FailureCode::LoopDetected, message };
        return finish(state, FinishReason::LoopDetected, Some(failure));
    }
    state.status = Status::Acting;
    vec![Command::CallTools(calls)]
}

/// A model that says nothing is asked again before that counts as a failure.
const MOST_EMPTY_REPLIES: u32 = 3;

fn silent(state: &mut Conversation) -> Vec<Command> {
    if state.empty_replies < MOST_EMPTY_REPLIES {
        return next_turn(state);
    }
    let message = format!("the model said nothing, {} times in a row", state.empty_replies);
    let failure = Failure { code: FailureCode::EmptyReply, message };
    finish(state, FinishReason::Error, Some(failure))
}

fn refused(state: &mut Conversation) -> Vec<Command> {
    let message = "the model, or its provider, would not answer".to_owned();
    let failure = Failure { code: FailureCode::ModelRejected, message };
    finish(state, FinishReason::Error, Some(failure))
}

/// The model has given its answer. One that does not fit the output type is sent back, once; the steps do not count then,
/// or an answer in the last step could not be corrected.
fn concluded(state: &mut Conversation) -> Vec<Command> {
    let Some(schema) = &state.output_schema else { return finish(state, FinishReason::Stop, None) };
    match output::read(schema, &state.last_output) {
        Ok(_) => finish(state, FinishReason::Stop, None),
        Err(why) if state.repaired => {
            let failure = Failure { code: FailureCode::OutputInvalid, message: why };
            finish(state, FinishReason::Error, Some(failure))
        }
        Err(why) => {
            state.repaired = true;
            state.messages.push(Message::user(output::complaint(&why)));
            think(state)
        }
    }
}

fn next_turn(state: &mut Conversation) -> Vec<Command> {
    if state.steps >= state.max_steps {
        return finish(state, FinishReason::MaxSteps, None);
    }
    think(state)
}

fn answered(state: &mut Conversation, call_id: &str, answer: Answer) -> Vec<Command> {
    let waiting = |pending: &&mut Pending| pending.call.id == call_id && pending.answer.is_none();
    let Some(pending) = state.pending.iter_mut().find(waiting) else { return Vec::new() };
    pending.answer = Some(answer);
    if state.unanswered().next().is_some() {
        return Vec::new();
    }
    close_turn(state, "no answer");
    next_turn(state)
}

fn finish(
    state: &mut Conversation,
    finish_reason: FinishReason,
    error: Option<Failure>,
) -> Vec<Command> {
    let schema = state.output_schema.as_ref().filter(|_| error.is_none());
    let parsed = schema.and_then(|schema| output::read(schema, &state.last_output).ok());
    let outcome = Outcome { output: state.last_output.clone(), finish_reason, error, parsed };
    state.status = Status::Finished(outcome.clone());
    vec![Command::Finish(outcome)]
}

/// Moves the turn's answers into the messages in the order of the calls; providers refuse a conversation in which a
/// call has no answer, so a missing one is given `otherwise`.
fn close_turn(state: &mut Conversation, otherwise: &str) {
    for Pending { call, answer } in std::mem::take(&mut state.pending) {
        let answer = answer.unwrap_or_else(|| Answer::error(otherwise));
        state.messages.push(Message::Tool {
            tool_call_id: call.id,
            tool_name: call.name,
            content: answer.content,
            error: answer.error,
        });
    }
}

/// No provider's ids are longer; a driver keeps them as keys.
const LONGEST_ID: usize = 1024;

/// Some providers leave ids out or use them twice; answers are told apart by them, so those get a new one. So do ids that
/// no driver could keep.
fn with_unique_ids(state: &Conversation, mut calls: Vec<ToolCall>) -> Vec<ToolCall> {
    let mut taken: HashSet<String> = state
        .messages
        .iter()
        .filter_map(|message| match message {
            Message::Assistant { tool_calls, .. } => Some(tool_calls),
            Message::System { .. } | Message::User { .. } | Message::Tool { .. } => None,
        })
        .flatten()
        .map(|call| call.id.clone())
        .collect();
    for (index, call) in calls.iter_mut().enumerate() {
        call.arguments = without_excess(std::mem::take(&mut call.arguments));
        call.name = fit_name(std::mem::take(&mut call.name));
        let unfit = call.id.is_empty()
            || call.id.len() > LONGEST_ID
            || call.id.chars().any(char::is_control);
        if unfit || taken.contains(&call.id) {
            call.id = format!("call_{}_{index}", state.steps);
            while taken.contains(&call.id) {
                call.id.push('_');
            }
        }
        taken.insert(call.id.clone());
    }
    calls
}

/// No tool has a name that providers refuse, but a model may ask for one, and its provider then refuses to read that.
fn fit_name(name: String) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(fits) {
        return name;
    }
    let fitted: String =
        name.chars().take(LONGEST_NAME).map(|c| if fits(c) { c } else { '_' }).collect();
    if fitted.is_empty() { "_".into() } else { fitted }
}

const LONGEST_NAME: usize = 64;

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "step_edge_tests.rs"]
mod edge_tests;
