//! The edge to a language model: one trait, its request, what streams back and how it can fail.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use shared_models::message::{Message, ToolCall};
use shared_models::usage::Usage;

use crate::conversation::{Failure, FailureCode};
use crate::tool::ToolSpec;

/// A provider of language models. Calls are independent of each other; nothing is remembered between them.
pub trait Model: Send + Sync {
    /// The provider's name, as before the colon in `openai:gpt-4o`.
    fn name(&self) -> &str;

    /// Asks once. The stream ends after [`ModelEvent::Done`] or the first error; dropping it gives up the call.
    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>>;
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelRequest {
    /// The model's name at its provider, as after the colon in `openai:gpt-4o`.
    pub model: String,
    /// Everything said so far, instructions first.
    pub messages: Vec<Message>,
    pub tools: Vec<ToolSpec>,
    pub temperature: Option<f32>,
    pub max_tokens: Option<u32>,
}

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
}

/// Why the model stopped talking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyFinish {
    #[default]
    Stop,
    ToolCalls,
    /// `max_tokens` or the window was used up; the reply is cut short.
    Length,
    ContentFilter,
}

/// Why a model call failed, sorted by what can be done about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// Nobody home, or busy: the same request may succeed later. No status means no answer at all.
    #[error("the model provider is unavailable{}: {message}", in_brackets(*status))]
    Transient { status: Option<u16>, message: String, retry_after: Option<Duration> },
    /// The answer broke off in the middle.
    #[error("the model's answer was cut off: {message}")]
    Cut { message: String },
    #[error("the conversation is too long for the model: {message}")]
    ContextLength { message: String },
    #[error("the model provider refused the request{}: {message}", in_brackets(Some(*status)))]
    Rejected { status: u16, message: String },
    #[error("the model provider refused the key: {message}")]
    Auth { message: String },
    #[error("the model provider's answer makes no sense: {message}")]
    Malformed { message: String },
}

impl ModelError {
    /// Sorts an HTTP answer by its status alone.
    pub fn from_status(status: u16, message: String, retry_after: Option<Duration>) -> Self {
        match status {
            401 | 403 => Self::Auth { message },
            408 | 425 | 429 | 500..=599 => {
                Self::Transient { status: Some(status), message, retry_after }
            }
            _ => Self::Rejected { status, message },
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transient { .. } | Self::Cut { .. } => true,
            Self::ContextLength { .. }
            | Self::Rejected { .. }
            | Self::Auth { .. }
            | Self::Malformed { .. } => false,
        }
    }

    /// How long the provider asked us to stay away.
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::Transient { retry_after, .. } = self { *retry_after } else { None }
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        let code = match &error {
            ModelError::Transient { .. } | ModelError::Cut { .. } => FailureCode::ModelUnavailable,
            ModelError::ContextLength { .. } => FailureCode::ContextLength,
            ModelError::Rejected { .. } => FailureCode::ModelRejected,
            ModelError::Auth { .. } => FailureCode::ModelAuth,
            ModelError::Malformed { .. } => FailureCode::ModelMalformed,
        };
        Self { code, message: error.to_string() }
    }
}

/// Asks once and waits for the whole reply, showing each delta to `on_event` on the way.
pub async fn complete(
    model: &dyn Model,
    request: ModelRequest,
    mut on_event: impl FnMut(ModelEvent),
) -> Result<Reply, ModelError> {
    let mut events = model.stream(request);
    while let Some(event) = events.next().await {
        match event? {
            ModelEvent::Done(reply) => return Ok(reply),
            delta => on_event(delta),
        }
    }
    Err(ModelError::Cut { message: "the stream ended without a reply".into() })
}

fn in_brackets(status: Option<u16>) -> String {
    status.map(|status| format!(" ({status})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whether_to_try_again() {
        let transient = |status| ModelError::from_status(status, "m".into(), None).is_transient();

        assert_eq!([408, 429, 500, 503, 529].map(transient), [true; 5]);
        assert_eq!([400, 401, 403, 404, 413, 422, 302].map(transient), [false; 7]);
    }

    #[test]
    fn an_error_reads_as_one_sentence() {
        let error = ModelError::from_status(503, "overloaded".into(), None);
        assert_eq!(error.to_string(), "the model provider is unavailable (503): overloaded");
    }
}
