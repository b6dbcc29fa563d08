//! What is sent to `chat/completions`, as OpenAI's "Create chat completion" has it; serialised from where it lies.

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use shared_models::message::{Block, Content, Message, ToolCall};

use super::super::errors::unwritable;
use crate::model::{ModelError, ModelRequest, OutputForm, Spelling, ToolChoice};
use crate::tool::ToolSpec;

/// In what servers differ that speak the same protocol.
#[derive(Clone, Copy, Default)]
pub(super) struct Manners {
    pub(super) is_openai: bool,
    pub(super) replay_reasoning: bool,
}

#[derive(Serialize)]
pub(super) struct Body<'a> {
    model: &'a str,
    messages: Messages<'a>,
    stream: bool,
    stream_options: StreamOptions,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct ResponseFormat<'a> {
    r#type: &'static str,
    json_schema: &'a OutputForm,
}

impl<'a> Body<'a> {
    pub(super) fn of(request: &'a ModelRequest, manners: Manners) -> Result<Self, ModelError> {
        let write =
            |specs: &[ToolSpec]| -> Vec<Value> { specs.iter().map(ToolSpec::to_openai).collect() };
        let tools = request.tools.written(Spelling::OpenAi, write).map_err(unwritable)?;
        let limit = |ours: bool| request.max_tokens.filter(|_| ours);
        Ok(Self {
            model: &request.model,
            messages: Messages::of(&request.messages, manners),
            stream: true,
            stream_options: StreamOptions { include_usage: true },
            tools,
            tool_choice: tools.and(choice(&request.tool_choice)),
            response_format: request
                .output
                .as_deref()
                .map(|json_schema| ResponseFormat { r#type: "json_schema", json_schema }),
            reasoning_effort: request.reasoning.map(crate::model::Effort::name),
            temperature: request.temperature,
            max_tokens: limit(!manners.is_openai),
            max_completion_tokens: limit(manners.is_openai),
        })
    }
}

fn choice(choice: &ToolChoice) -> Option<Value> {
    match choice {
        ToolChoice::Auto => None,
        ToolChoice::None => Some("none".into()),
        ToolChoice::Required => Some("required".into()),
        ToolChoice::Tool(name) => Some(json!({ "type": "function", "function": { "name": name } })),
    }
}

struct Messages<'a> {
    messages: &'a [Message],
    /// From here on the assistant's reasoning goes along.
    reasoning_from: usize,
}

impl<'a> Messages<'a> {
    fn of(messages: &'a [Message], manners: Manners) -> Self {
        let asked = messages.iter().rposition(|message| matches!(message, Message::User { .. }));
        let reasoning_from =
            if manners.replay_reasoning { asked.unwrap_or(0) } else { messages.len() };
        Self { messages, reasoning_from }
    }
}

impl Serialize for Messages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(self.messages.len()))?;
        for (index, message) in self.messages.iter().enumerate() {
            sequence.serialize_element(&Wire::of(message, index >= self.reasoning_from))?;
        }
        sequence.end()
    }
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
enum Wire<'a> {
    System {
        content: &'a str,
    },
    User {
        content: Said<'a>,
    },
    Assistant {
        /// Beside tool calls an empty text is refused by some, null by none.
        content: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reasoning_content: Option<&'a str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<Call<'a>>,
    },
    Tool {
        tool_call_id: &'a str,
        content: &'a str,
    },
}

impl<'a> Wire<'a> {
    fn of(message: &'a Message, with_reasoning: bool) -> Self {
        match message {
            Message::System { content } => Self::System { content },
            Message::User { content } => Self::User { content: Said::of(content) },
            Message::Assistant { content, tool_calls, reasoning, replay: _ } => Self::Assistant {
                content: (tool_calls.is_empty() || !content.is_empty()).then_some(content),
                reasoning_content: reasoning.as_deref().filter(|_| with_reasoning),
                tool_calls: tool_calls.iter().map(Call::of).collect(),
            },
            Message::Tool { tool_call_id, content, tool_name: _, error: _ } => {
                Self::Tool { tool_call_id, content }
            }
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Said<'a> {
    Text(&'a str),
    Parts(Vec<Part<'a>>),
}

impl<'a> Said<'a> {
    fn of(content: &'a Content) -> Self {
        match content {
            Content::Text(text) => Self::Text(text),
            Content::Blocks(blocks) => Self::Parts(blocks.iter().map(Part::of).collect()),
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: Image<'a> },
    File { file: File<'a> },
}

#[derive(Serialize)]
struct Image<'a> {
    url: &'a str,
}

#[derive(Serialize)]
struct File<'a> {
    filename: &'a str,
    file_data: &'a str,
}

impl<'a> Part<'a> {
    fn of(block: &'a Block) -> Self {
        match block {
            Block::Text { text } => Self::Text { text },
            Block::Image { url } => Self::ImageUrl { image_url: Image { url } },
            Block::Document { url, name } => {
                let filename = name.as_deref().unwrap_or("document");
                Self::File { file: File { filename, file_data: url } }
            }
        }
    }
}

#[derive(Serialize)]
struct Call<'a> {
    id: &'a str,
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: &'a str,
}

impl<'a> Call<'a> {
    fn of(call: &'a ToolCall) -> Self {
        let arguments = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
        let function = Function { name: &call.name, arguments };
        Self { id: &call.id, r#type: "function", function }
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
