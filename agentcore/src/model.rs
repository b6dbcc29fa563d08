//! The edge to a language model: one trait, its request, what streams back and how it can fail.

mod error;
mod tool_set;

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared_models::message::{Message, Replay, ToolCall};
use shared_models::usage::Usage;

pub use self::error::{ModelError, ModelErrorKind};
pub(crate) use self::tool_set::Spelling;
pub use self::tool_set::ToolSet;

/// A provider of language models. Calls are independent of each other; nothing is remembered between them.
///
/// ```
/// use agentcore::models::sim::Sim;
/// use agentcore::{Message, Model, ModelRequest, complete};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), agentcore::ModelError> {
/// let sim = Sim::new();
/// let messages = vec![Message::user("Hello")];
/// let request = ModelRequest { model: "echo".into(), messages, ..ModelRequest::default() };
///
/// let mut said = Vec::new();
/// let reply = complete(&sim, &request, |event| said.push(event)).await?;
/// assert_eq!((sim.name(), reply.content.as_str()), ("sim", "Hello"));
/// assert!(!said.is_empty(), "it came word by word");
/// # Ok(())
/// # }
/// ```
pub trait Model: Send + Sync {
    /// The provider's name, as before the colon in `openai:gpt-4o`.
    fn name(&self) -> &str;

    /// Asks once. The stream ends after [`ModelEvent::Done`] or the first error; dropping it gives up the call.
    fn stream(&self, request: &ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>>;
}

/// What a model is asked.
///
/// ```
/// use agentcore::{Message, ModelRequest, ToolChoice};
///
/// let messages = vec![Message::system("Be brief."), Message::user("Hello")];
/// let request = ModelRequest { model: "gpt-4o".into(), messages, ..ModelRequest::default() };
/// assert_eq!((request.tool_choice, request.temperature), (ToolChoice::Auto, None));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelRequest {
    /// The model's name at its provider, as after the colon in `openai:gpt-4o`.
    pub model: String,
    /// Everything said so far, instructions first.
    pub messages: Vec<Message>,
    pub tools: ToolSet,
    pub tool_choice: ToolChoice,
    /// The form the answer should have. A provider that cannot enforce it is asked in words: check what comes back.
    pub output: Option<Arc<OutputForm>>,
    /// How hard a model that can reason should; its own default when left out.
    pub reasoning: Option<Effort>,
    pub temperature: Option<f32>,
    pub max_tokens: Option<u32>,
}

/// Whether the model has to call a tool. Says nothing when there are no tools.
///
/// ```
/// use agentcore::ToolChoice;
///
/// assert_eq!(serde_json::to_value(ToolChoice::Tool("look".into()))?, serde_json::json!({ "tool": "look" }));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    #[default]
    Auto,
    /// None, although there are some.
    None,
    /// Any of them.
    Required,
    /// The one of this name.
    Tool(String),
}

/// A JSON Schema for the answer.
///
/// ```
/// use agentcore::OutputForm;
/// use serde_json::json;
///
/// let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
/// let form = OutputForm { name: "place".into(), schema, strict: false };
/// assert_eq!(form.schema["type"], "object");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputForm {
    /// 1 to 64 of `[A-Za-z0-9_-]`; some providers show it to the model.
    pub name: String,
    pub schema: Value,
    /// Asks OpenAI to enforce every detail of the schema. It then refuses schemas with optional properties.
    #[serde(default)]
    pub strict: bool,
}

/// How hard a model that can reason should.
///
/// ```
/// use agentcore::{Effort, ModelRequest};
///
/// let hard = ModelRequest { reasoning: Some(Effort::High), ..ModelRequest::default() };
/// assert_eq!(serde_json::to_value(hard.reasoning)?, "high");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    Low,
    Medium,
    High,
}

impl Effort {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// What streams back from a model.
///
/// ```
/// use agentcore::{ModelEvent, Reply};
///
/// let events = [ModelEvent::TextDelta("Hel".into()), ModelEvent::TextDelta("lo".into())];
/// let text: String = events
///     .iter()
///     .filter_map(|event| if let ModelEvent::TextDelta(text) = event { Some(text.as_str()) } else { None })
///     .collect();
/// assert_eq!(text, Reply { content: "Hello".into(), ..Reply::default() }.content);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum ModelEvent {
    TextDelta(String),
    ReasoningDelta(String),
    /// A piece of the call at `index`; `id` and `name` come with the first piece.
    ToolCallDelta {
        index: usize,
        id: Option<String>,
        name: Option<String>,
        arguments: String,
    },
    /// The whole reply; the deltas before it add up to it.
    Done(Reply),
}

/// A whole reply of a model.
///
/// ```
/// use agentcore::{Reply, ReplyFinish};
///
/// let reply = Reply { content: "Hello".into(), ..Reply::default() };
/// assert_eq!(reply.finish, ReplyFinish::Stop);
/// assert!(reply.tool_calls.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    #[serde(default)]
    pub content: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    #[serde(default)]
    pub usage: Usage,
    #[serde(default)]
    pub finish: ReplyFinish,
    /// Belongs into the assistant's message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
}

/// Why the model stopped talking.
///
/// ```
/// use agentcore::ReplyFinish;
///
/// assert_eq!(serde_json::to_value(ReplyFinish::Length)?, "length");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyFinish {
    #[default]
    Stop,
    ToolCalls,
    /// `max_tokens` or the window was used up; the reply is cut short.
    Length,
    /// The model or its provider would not go on.
    ContentFilter,
    /// The provider wants a pause: the same conversation, with this reply at its end, goes on.
    Pause,
}

/// Asks once and waits for the whole reply, showing each delta to `on_event` on the way.
pub async fn complete(
    model: &dyn Model,
    request: &ModelRequest,
    mut on_event: impl FnMut(ModelEvent),
) -> Result<Reply, ModelError> {
    let mut events = model.stream(request);
    while let Some(event) = events.next().await {
        match event? {
            ModelEvent::Done(reply) => return Ok(reply),
            delta => on_event(delta),
        }
    }
    Err(ModelError::new(ModelErrorKind::Cut, "the stream ended without a reply"))
}
