//! The state a conversation carries from one step to the next.

use serde::{Deserialize, Serialize};
use shared_models::message::{Message, ToolCall};
use shared_models::run::FinishReason;
use shared_models::usage::Usage;

use crate::repetition::Repetition;

/// Everything [`step`](crate::step::step) needs to know, and nothing else: serialise it, read it back, and go on.
///
/// Only `step` changes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    pub instructions: String,
    /// Input, replies and tool results in order; without the instructions.
    pub messages: Vec<Message>,
    /// Model replies so far.
    pub steps: u32,
    pub max_steps: u32,
    pub usage: Usage,
    pub status: Status,
    /// The last text the model said, for when the steps run out.
    pub(crate) last_output: String,
    pub(crate) repetition: Repetition,
    /// The calls of the current turn in the order the model made them.
    pub(crate) pending: Vec<Pending>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    New,
    /// A model call is due or under way.
    Thinking,
    /// Tool calls are due or under way.
    Acting,
    Finished(Outcome),
}

/// How a conversation ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub output: String,
    pub finish_reason: FinishReason,
    /// Set for every reason but `stop` and `max_steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// What stopped a conversation, for programs (`code`) and people (`message`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub code: FailureCode,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// The provider could not be reached, or had no time for us, in spite of retries.
    ModelUnavailable,
    /// The conversation no longer fits into the model's window.
    ContextLength,
    /// The provider refused the request.
    ModelRejected,
    /// The provider refused our key.
    ModelAuth,
    /// The provider's answer made no sense.
    ModelMalformed,
    LoopDetected,
    Cancelled,
}

/// What a tool call came to, as the model will read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub content: String,
    #[serde(default)]
    pub error: bool,
}

impl Answer {
    pub fn ok(content: impl Into<String>) -> Self {
        Self { content: content.into(), error: false }
    }

    pub fn error(content: impl Into<String>) -> Self {
        Self { content: content.into(), error: true }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) call: ToolCall,
    pub(crate) answer: Option<Answer>,
}

impl Conversation {
    pub const DEFAULT_MAX_STEPS: u32 = 10;
    pub const DEFAULT_LOOP_THRESHOLD: u32 = 3;

    pub fn new(instructions: impl Into<String>) -> Self {
        Self {
            instructions: instructions.into(),
            messages: Vec::new(),
            steps: 0,
            max_steps: Self::DEFAULT_MAX_STEPS,
            usage: Usage::default(),
            status: Status::New,
            last_output: String::new(),
            repetition: Repetition::new(Self::DEFAULT_LOOP_THRESHOLD),
            pending: Vec::new(),
        }
    }

    /// How many replies the model may give; at least one.
    #[must_use]
    pub fn with_max_steps(mut self, max_steps: u32) -> Self {
        self.max_steps = max_steps.max(1);
        self
    }

    /// The how-manieth identical turn in a row is one too many; at least the second.
    #[must_use]
    pub fn with_loop_threshold(mut self, loop_threshold: u32) -> Self {
        self.repetition = Repetition::new(loop_threshold);
        self
    }

    /// What a model is asked with: the instructions, if any, and the messages.
    pub fn prompt(&self) -> Vec<Message> {
        let system = (!self.instructions.is_empty()).then(|| Message::system(&self.instructions));
        system.into_iter().chain(self.messages.iter().cloned()).collect()
    }

    /// The calls of this turn that have no answer yet.
    pub fn unanswered(&self) -> impl Iterator<Item = &ToolCall> {
        self.pending.iter().filter(|pending| pending.answer.is_none()).map(|pending| &pending.call)
    }

    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.status {
            Status::Finished(outcome) => Some(outcome),
            Status::New | Status::Thinking | Status::Acting => None,
        }
    }
}
