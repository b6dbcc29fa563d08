//! The state a conversation carries from one step to the next.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared_models::message::{Message, ToolCall};
use shared_models::run::FinishReason;
use shared_models::usage::Usage;

use crate::output;
use crate::repetition::Repetition;
use crate::window::{self, Summary, Window};

/// Everything [`step`](crate::step::step) needs to know, and nothing else: serialise it, read it back, and go on.
///
/// Only `step` changes it.
///
/// ```
/// use agentcore::{Command, Conversation, Happened, Message, Reply, step};
///
/// let mut conversation = Conversation::new("Be brief.");
/// let input = vec![Message::user("Hi")];
/// assert_eq!(step(&mut conversation, Happened::Started { input }), [Command::CallModel]);
///
/// // Whoever drives it asks a model with `prompt()`, and says what came of it.
/// assert_eq!(conversation.prompt().len(), 2);
/// let reply = Reply { content: "Hello".into(), ..Reply::default() };
/// step(&mut conversation, Happened::Replied(reply));
/// assert_eq!(conversation.outcome().map(|outcome| outcome.output.as_str()), Some("Hello"));
/// ```
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
    /// What the output must fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) output_schema: Option<Value>,
    /// The model has been asked to correct its output.
    #[serde(default)]
    pub(crate) repaired: bool,
    /// Replies in a row in which the model said nothing at all.
    #[serde(default)]
    pub(crate) empty_replies: u32,
    /// How much the model can read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) window: Option<Window>,
    /// What stands for the oldest messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) summary: Option<Summary>,
}

/// Where a conversation stands.
///
/// ```
/// use agentcore::{Conversation, Happened, Message, Status, step};
///
/// let mut conversation = Conversation::new("");
/// assert_eq!(conversation.status, Status::New);
/// step(&mut conversation, Happened::Started { input: vec![Message::user("Hi")] });
/// assert_eq!(conversation.status, Status::Thinking);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    New,
    /// A model call is due or under way.
    Thinking,
    /// A summary of the first `upto` messages is due or under way.
    Summarising {
        upto: usize,
    },
    /// Tool calls are due or under way.
    Acting,
    Finished(Outcome),
}

/// How a conversation ended.
///
/// ```
/// use agentcore::{Conversation, FinishReason, Happened, Message, Reply, step};
///
/// let mut conversation = Conversation::new("");
/// step(&mut conversation, Happened::Started { input: vec![Message::user("Hi")] });
/// step(&mut conversation, Happened::Replied(Reply { content: "Hello".into(), ..Reply::default() }));
///
/// let outcome = conversation.outcome().ok_or("it goes on")?;
/// assert_eq!((outcome.output.as_str(), outcome.finish_reason), ("Hello", FinishReason::Stop));
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub output: String,
    pub finish_reason: FinishReason,
    /// Set for every reason but `stop` and `max_steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// The output as JSON, when it had to be some and is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parsed: Option<Value>,
}

/// What stopped a conversation, for programs (`code`) and people (`message`).
///
/// ```
/// use agentcore::{Failure, FailureCode};
///
/// let failure = Failure { code: FailureCode::HookFailed, message: "not today".into() };
/// assert_eq!(failure.to_string(), "not today");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub code: FailureCode,
    pub message: String,
}

/// What kind of failure it was.
///
/// ```
/// use agentcore::FailureCode;
///
/// assert_eq!(serde_json::to_value(FailureCode::LoopDetected)?, "loop_detected");
/// # Ok::<(), serde_json::Error>(())
/// ```
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
    /// The model said nothing, again and again.
    EmptyReply,
    /// The output does not fit its type, in spite of a second try.
    OutputInvalid,
    /// A hook stopped the run, or crashed.
    HookFailed,
    /// The conversation could not be read from memory, or written to it.
    Memory,
    LoopDetected,
    /// Control moved between the members of a swarm more often than allowed.
    TooManyHandoffs,
    /// The members of a swarm have used up their steps.
    TooManySteps,
    Cancelled,
}

/// What a tool call came to, as the model will read it.
///
/// ```
/// use agentcore::Answer;
///
/// assert!(!Answer::ok("42").error);
/// assert!(Answer::error("nobody knows").error);
/// ```
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
            output_schema: None,
            repaired: false,
            empty_replies: 0,
            window: None,
            summary: None,
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

    /// The output must be JSON that fits this schema.
    #[must_use]
    pub fn with_output_schema(mut self, schema: Option<Value>) -> Self {
        self.output_schema = schema;
        self
    }

    /// How much the model can read. Before the conversation is longer, its oldest turns are summarised.
    #[must_use]
    pub fn with_window(mut self, window: Option<Window>) -> Self {
        self.window = window;
        self
    }

    /// What a summary says that was made of what came before: the model is told it first.
    ///
    /// ```
    /// use agentcore::Conversation;
    ///
    /// let conversation = Conversation::new("Be brief.").with_summary("They have met before.");
    /// assert!(format!("{:?}", conversation.prompt()[1]).contains("They have met before."));
    /// ```
    #[must_use]
    pub fn with_summary(mut self, text: impl Into<String>) -> Self {
        self.summary = Some(Summary { text: text.into(), messages: 0 });
        self
    }

    /// What a model is asked with: the instructions, if any, and the messages, a summary in place of the oldest ones
    /// when they have grown too many.
    pub fn prompt(&self) -> Vec<Message> {
        let mut prompt = Vec::with_capacity(self.messages.len() + 1);
        prompt.extend(self.system());
        match &self.summary {
            Some(summary) => prompt.extend(window::shortened(summary, &self.messages)),
            None => prompt.extend_from_slice(&self.messages),
        }
        if prompt.iter().any(is_silence) {
            prompt.retain(|message| !is_silence(message));
        }
        prompt
    }

    /// What a model is asked with for a summary of the first `upto` messages.
    pub fn summary_prompt(&self, upto: usize) -> Vec<Message> {
        window::summary_prompt(self.window, self.summary.as_ref(), &self.messages, upto)
    }

    /// What stands for the oldest messages, if anything does.
    pub fn summary(&self) -> Option<&Summary> {
        self.summary.as_ref()
    }

    fn system(&self) -> Option<Message> {
        match (&*self.instructions, &self.output_schema) {
            ("", None) => None,
            (instructions, None) => Some(Message::system(instructions)),
            ("", Some(schema)) => Some(Message::system(output::instruction(schema))),
            (instructions, Some(schema)) => {
                let output = output::instruction(schema);
                Some(Message::system(format!("{instructions}\n\n{output}")))
            }
        }
    }

    /// The calls of this turn that have no answer yet.
    pub fn unanswered(&self) -> impl Iterator<Item = &ToolCall> {
        self.pending.iter().filter(|pending| pending.answer.is_none()).map(|pending| &pending.call)
    }

    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.status {
            Status::Finished(outcome) => Some(outcome),
            Status::New | Status::Thinking | Status::Summarising { .. } | Status::Acting => None,
        }
    }
}

/// A reply in which the model said nothing. Providers refuse to read one.
fn is_silence(message: &Message) -> bool {
    matches!(message, Message::Assistant { content, tool_calls, .. }
        if content.is_empty() && tool_calls.is_empty())
}
