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

use crate::conversation::{Answer, Conversation, Failure, FailureCode, Outcome, Pending, Status};
use crate::model::Reply;

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
    /// Nobody wants the result any more.
    Cancelled { reason: String },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Ask the model with [`Conversation::prompt`].
    CallModel,
    /// Call all of these, concurrently, and report each answer.
    CallTools(Vec<ToolCall>),
    /// There is nothing left to do.
    Finish(Outcome),
}

/// Takes in what happened and says what to do next; nothing while answers are outstanding.
pub fn step(state: &mut Conversation, happened: Happened) -> Vec<Command> {
    match (&state.status, happened) {
        (Status::New, Happened::Started { input }) => {
            state.messages = input;
            think(state)
        }
        (Status::Thinking, Happened::Replied(reply)) => replied(state, reply),
        (Status::Thinking, Happened::ModelFailed(failure)) => {
            finish(state, FinishReason::Error, Some(failure))
        }
        (Status::Acting, Happened::Answered { call_id, answer }) => {
            answered(state, &call_id, answer)
        }
        (Status::New | Status::Thinking | Status::Acting, Happened::Cancelled { reason }) => {
            close_turn(state, "cancelled");
            let failure = Failure { code: FailureCode::Cancelled, message: reason };
            finish(state, FinishReason::Cancelled, Some(failure))
        }
        (Status::New | Status::Thinking | Status::Acting | Status::Finished(_), _) => Vec::new(),
    }
}

/// What is due in this state: the same commands `step` gave, less the calls answered since. A driver that takes over
/// from a dead one starts here.
pub fn due(state: &Conversation) -> Vec<Command> {
    match &state.status {
        Status::New => Vec::new(),
        Status::Thinking => vec![Command::CallModel],
        Status::Acting => vec![Command::CallTools(state.unanswered().cloned().collect())],
        Status::Finished(outcome) => vec![Command::Finish(outcome.clone())],
    }
}

fn think(state: &mut Conversation) -> Vec<Command> {
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
    state.messages.push(Message::Assistant {
        content: reply.content.clone(),
        tool_calls: calls.clone(),
        reasoning: reply.reasoning,
    });
    if calls.is_empty() {
        state.last_output = reply.content;
        return finish(state, FinishReason::Stop, None);
    }
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

fn answered(state: &mut Conversation, call_id: &str, answer: Answer) -> Vec<Command> {
    let waiting = |pending: &&mut Pending| pending.call.id == call_id && pending.answer.is_none();
    let Some(pending) = state.pending.iter_mut().find(waiting) else { return Vec::new() };
    pending.answer = Some(answer);
    if state.unanswered().next().is_some() {
        return Vec::new();
    }
    close_turn(state, "no answer");
    if state.steps >= state.max_steps {
        return finish(state, FinishReason::MaxSteps, None);
    }
    think(state)
}

fn finish(
    state: &mut Conversation,
    finish_reason: FinishReason,
    error: Option<Failure>,
) -> Vec<Command> {
    let outcome = Outcome { output: state.last_output.clone(), finish_reason, error };
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

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
