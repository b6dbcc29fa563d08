//! What is sent to `streamGenerateContent`.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use shared_models::message::Message;

use super::super::errors::unwritable;
use super::content::{Part, Turn, turns};
use super::{names, schema};
use crate::model::{Effort, ModelError, ModelRequest, Spelling, ToolChoice};
use crate::tool::ToolSpec;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body<'a> {
    contents: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<Value>,
    #[serde(skip_serializing_if = "Config::is_empty")]
    generation_config: Config,
}

#[derive(Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_field_names, reason = "the names are Google's")]
struct Config {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_schema: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<Value>,
}

impl Config {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl<'a> Body<'a> {
    pub(super) fn of(request: &'a ModelRequest) -> Result<Self, ModelError> {
        let generation = generation(&request.model);
        let tools = request.tools.written(Spelling::Gemini, declarations).map_err(unwritable)?;
        let form = request.output.as_deref().map(|output| &output.schema);
        // "Structured output": together with tools only since Gemini 3.
        let enforced = form.filter(|_| tools.is_none() || generation >= 3).map(schema::subset);
        let in_words = form.filter(|_| enforced.is_none()).map(in_words);
        Ok(Self {
            contents: turns(&request.messages, generation >= 3)?,
            system_instruction: system(&request.messages, in_words),
            tool_config: tools.and(choice(&request.tool_choice)),
            tools,
            generation_config: Config {
                temperature: request.temperature,
                max_output_tokens: request.max_tokens,
                response_mime_type: enforced.is_some().then_some("application/json"),
                response_schema: enforced,
                thinking_config: request.reasoning.and_then(|effort| thinking(effort, generation)),
            },
        })
    }
}

/// The 2 of `gemini-2.5-pro`, where 2.0 counts as 1; a name without a number is taken for a new model.
fn generation(model: &str) -> u32 {
    if model.contains("gemini-2.0") {
        return 1;
    }
    let Some((_, after)) = model.split_once("gemini-") else { return u32::MAX };
    let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    after.get(..digits).and_then(|number| number.parse().ok()).unwrap_or(u32::MAX)
}

/// "Thinking": levels since Gemini 3, a budget in tokens in 2.5, nothing before.
fn thinking(effort: Effort, generation: u32) -> Option<Value> {
    let budget = match effort {
        Effort::Low => 1024,
        Effort::Medium => 8192,
        Effort::High => 24_576,
    };
    match generation {
        0 | 1 => None,
        2 => Some(json!({ "thinkingBudget": budget, "includeThoughts": true })),
        _ => Some(json!({ "thinkingLevel": effort.name(), "includeThoughts": true })),
    }
}

fn choice(choice: &ToolChoice) -> Option<Value> {
    let config = match choice {
        ToolChoice::Auto => return None,
        ToolChoice::None => json!({ "mode": "NONE" }),
        ToolChoice::Required => json!({ "mode": "ANY" }),
        ToolChoice::Tool(name) => {
            json!({ "mode": "ANY", "allowedFunctionNames": [names::sent(name)] })
        }
    };
    Some(json!({ "functionCallingConfig": config }))
}

fn declarations(specs: &[ToolSpec]) -> Value {
    let declaration = |spec: &ToolSpec| {
        let mut declaration = Map::new();
        declaration.insert("name".into(), names::sent(&spec.name).into());
        declaration.insert("description".into(), spec.description.as_str().into());
        let parameters = schema::subset(&spec.parameters);
        // An object without properties is refused; a function without parameters is not.
        if parameters.get("properties").is_some() {
            declaration.insert("parameters".into(), parameters);
        }
        Value::from(declaration)
    };
    json!([{ "functionDeclarations": specs.iter().map(declaration).collect::<Vec<_>>() }])
}

fn in_words(schema: &Value) -> String {
    format!(
        "Answer with JSON alone, no other words and no code fence. It must fit this JSON Schema:\n{schema}"
    )
}

fn system(messages: &[Message], in_words: Option<String>) -> Option<Value> {
    let said = messages.iter().filter_map(|message| match message {
        Message::System { content } if !content.is_empty() => Some(content.as_str()),
        _ => None,
    });
    let parts: Vec<Part> = said.chain(in_words.as_deref()).map(Part::text).collect();
    (!parts.is_empty()).then(|| json!({ "parts": parts }))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
