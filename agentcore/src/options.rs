//! What can be said about one run, beside what the agent says about all of its runs.

use std::fmt;
use std::sync::Arc;

use shared_models::message::{Content, Message};

use crate::agent::ModelChoice;
use crate::context::Context;
use crate::model::Model;

/// What a run begins with: a text, or a history that ends with the new message.
///
/// ```
/// use agentcore::{Input, Message};
///
/// assert_eq!(Input::from("Hi").text(), "Hi");
/// let history = vec![Message::user("Hi"), Message::assistant("Hello"), Message::user("Who are you?")];
/// assert_eq!(Input::from(history).text(), "Who are you?");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Input(pub(crate) Vec<Message>);

impl Input {
    pub fn messages(&self) -> &[Message] {
        &self.0
    }

    pub fn into_messages(self) -> Vec<Message> {
        self.0
    }

    /// The text of the last thing the user says.
    pub fn text(&self) -> String {
        let said = self.0.iter().rev().find_map(|message| match message {
            Message::User { content } => Some(content.text()),
            Message::System { .. } | Message::Assistant { .. } | Message::Tool { .. } => None,
        });
        said.unwrap_or_default()
    }
}

impl From<&str> for Input {
    fn from(text: &str) -> Self {
        Self(vec![Message::user(text)])
    }
}

impl From<String> for Input {
    fn from(text: String) -> Self {
        Self(vec![Message::user(text)])
    }
}

impl From<Content> for Input {
    fn from(content: Content) -> Self {
        Self(vec![Message::User { content }])
    }
}

impl From<Vec<Message>> for Input {
    fn from(messages: Vec<Message>) -> Self {
        Self(messages)
    }
}

/// Options of one run; what is not set is as the agent says.
///
/// ```
/// use agentcore::{Agent, Message, RunOptions, run_with};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let agent = Agent::builder("parrot").model("sim:echo").build()?;
/// let history = vec![Message::user("Hi"), Message::assistant("Hi")];
///
/// let result = run_with(&agent, "Hello", RunOptions::new().messages(history).max_steps(2)).await?;
///
/// assert_eq!(result.messages.len(), 4);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct RunOptions {
    pub(crate) messages: Vec<Message>,
    pub(crate) conversation_id: Option<String>,
    pub(crate) model: Option<ModelChoice>,
    pub(crate) provider: Option<Arc<dyn Model>>,
    pub(crate) max_retries: Option<u32>,
    pub(crate) loop_threshold: Option<u32>,
    pub(crate) max_steps: Option<u32>,
    pub(crate) context: Option<Context>,
    pub(crate) detailed: bool,
}

impl RunOptions {
    pub fn new() -> Self {
        Self::default()
    }

    /// What was said before the input.
    #[must_use]
    pub fn messages(mut self, messages: impl Into<Vec<Message>>) -> Self {
        self.messages = messages.into();
        self
    }

    /// The conversation this run goes on with: its history is read from the agent's memory, and what is said now is
    /// added to it when the run has succeeded.
    #[must_use]
    pub fn conversation(mut self, conversation_id: impl Into<String>) -> Self {
        self.conversation_id = Some(conversation_id.into());
        self
    }

    /// Another model than the agent's.
    #[must_use]
    pub fn model(mut self, model: impl Into<ModelChoice>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// Who answers for the model, whatever the part before the colon says.
    #[must_use]
    pub fn provider(mut self, provider: Arc<dyn Model>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// How often a model call that failed for now is made again.
    #[must_use]
    pub fn max_retries(mut self, max_retries: u32) -> Self {
        self.max_retries = Some(max_retries);
        self
    }

    /// The how-manieth identical turn in a row fails the run.
    #[must_use]
    pub fn loop_threshold(mut self, loop_threshold: u32) -> Self {
        self.loop_threshold = Some(loop_threshold);
        self
    }

    /// How many replies the model may give; at least one.
    #[must_use]
    pub fn max_steps(mut self, max_steps: u32) -> Self {
        self.max_steps = Some(max_steps);
        self
    }

    /// What the agent and its tools know besides the conversation; the run's changes are in it when it has succeeded.
    #[must_use]
    pub fn context(mut self, context: Context) -> Self {
        self.context = Some(context);
        self
    }

    /// A stream shows every [`EventKind`](crate::EventKind), not just text and tool calls.
    #[must_use]
    pub fn detailed(mut self) -> Self {
        self.detailed = true;
        self
    }

    /// What holds for a run within this one as well: who is asked, how often, and when it goes round in circles. History,
    /// steps and conversation are each run's own.
    #[must_use]
    pub fn for_child(&self) -> Self {
        Self {
            model: self.model.clone(),
            provider: self.provider.clone(),
            max_retries: self.max_retries,
            loop_threshold: self.loop_threshold,
            ..Self::default()
        }
    }
}

impl fmt::Debug for RunOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunOptions")
            .field("messages", &self.messages.len())
            .field("conversation_id", &self.conversation_id)
            .field("max_retries", &self.max_retries)
            .field("loop_threshold", &self.loop_threshold)
            .field("max_steps", &self.max_steps)
            .field("detailed", &self.detailed)
            .finish_non_exhaustive()
    }
}
