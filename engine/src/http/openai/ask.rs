//! A request for a completion, as OpenAI's clients write it.

use std::collections::HashMap;
use std::time::Duration;

use agentcore::{Block, Content, Message, ToolCall, ToolSpec};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use servicekit::FieldError;
use shared_models::Effect;

/// What is asked. Fields that are not here are ignored, as OpenAI's own older servers do.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub(super) struct ChatRequest {
    /// A model (`sim:echo`, `gpt-4o`), or an agent by its name or id: `agent:triage`.
    #[schema(example = "agent:triage")]
    pub(super) model: String,
    /// What was said so far: `system` or `developer`, `user`, `assistant`, `tool`.
    #[schema(value_type = Vec<Object>)]
    messages: Vec<Said>,
    /// Answer as server-sent events.
    #[serde(default)]
    pub(super) stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    #[schema(minimum = 0, maximum = 2)]
    pub(super) temperature: Option<f32>,
    #[serde(default)]
    max_tokens: Option<u32>,
    #[serde(default)]
    max_completion_tokens: Option<u32>,
    /// For models: what may be called. Agents have tools of their own.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    tools: Option<Vec<Offered>>,
    /// `auto` or `none`.
    #[serde(default)]
    tool_choice: Option<Value>,
    /// Only 1.
    #[serde(default)]
    n: Option<u32>,
    /// The person on whose behalf you ask, as you name them.
    #[serde(default)]
    pub(super) user: Option<String>,
    /// For agents: `cancel` ends the run when you hang up; otherwise it goes on.
    #[serde(default)]
    on_disconnect: Option<OnDisconnect>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum OnDisconnect {
    Cancel,
    Continue,
}

#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Said {
    role: String,
    #[serde(default)]
    content: Option<Value>,
    #[serde(default)]
    tool_calls: Option<Vec<Called>>,
    #[serde(default)]
    tool_call_id: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Called {
    id: String,
    function: CalledFunction,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct CalledFunction {
    name: String,
    #[serde(default)]
    arguments: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Offered {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    function: Option<OfferedFunction>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct OfferedFunction {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    parameters: Option<Value>,
}

impl ChatRequest {
    /// The agent that is asked, by name or id, unless it is a model.
    pub(super) fn agent(&self) -> Option<&str> {
        self.model.strip_prefix("agent:")
    }

    pub(super) fn streams(&self) -> bool {
        self.stream.unwrap_or_default()
    }

    pub(super) fn wants_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or_default()
    }

    pub(super) fn cancels(&self) -> bool {
        self.on_disconnect == Some(OnDisconnect::Cancel)
    }

    pub(super) fn most_tokens(&self) -> Option<u32> {
        self.max_completion_tokens.or(self.max_tokens)
    }

    /// What cannot be done as asked.
    pub(super) fn check(&self) -> Result<(), Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut refuse = |wrong: bool, pointer: &str, message: &str| {
            if wrong {
                errors.push(FieldError::new(pointer, message));
            }
        };
        refuse(self.messages.is_empty(), "/messages", "must not be empty");
        refuse(self.n.is_some_and(|n| n != 1), "/n", "only one answer is given");
        refuse(self.most_tokens() == Some(0), "/max_tokens", "at least 1");
        let warm = self.temperature.is_some_and(|t| !(0.0..=2.0).contains(&t));
        refuse(warm, "/temperature", "from 0 to 2");
        let choice = self.tool_choice.as_ref();
        let known =
            choice.is_none_or(|choice| choice == "auto" || choice == "none" || choice.is_null());
        refuse(!known, "/tool_choice", "`auto` or `none`");
        let offers = self.tools.as_ref().is_some_and(|tools| !tools.is_empty());
        refuse(offers && self.agent().is_some(), "/tools", "an agent has tools of its own");
        for (index, tool) in self.tools.iter().flatten().enumerate() {
            let wrong = tool.kind != "function" || tool.function.is_none();
            refuse(wrong, &format!("/tools/{index}"), "only functions");
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// What the model may call.
    pub(super) fn tools(&self) -> Vec<ToolSpec> {
        if self.tool_choice.as_ref().is_some_and(|choice| choice == "none") {
            return Vec::new();
        }
        let functions = self.tools.iter().flatten().filter_map(|tool| tool.function.as_ref());
        functions
            .map(|function| ToolSpec {
                name: function.name.clone(),
                description: function.description.clone(),
                parameters: function
                    .parameters
                    .clone()
                    .unwrap_or_else(|| json!({ "type": "object" })),
                // The caller calls it, not we.
                effect: Effect::Unsafe,
                timeout: Duration::ZERO,
            })
            .collect()
    }

    /// What was said, in our words.
    pub(super) fn messages(&self) -> Result<Vec<Message>, Vec<FieldError>> {
        let (mut messages, mut errors) = (Vec::new(), Vec::new());
        let mut names = HashMap::new();
        for (index, said) in self.messages.iter().enumerate() {
            let calls = said.tool_calls.iter().flatten();
            names.extend(calls.map(|call| (call.id.clone(), call.function.name.clone())));
            match said.message(&names) {
                Ok(message) => messages.push(message),
                Err(why) => errors.push(FieldError::new(format!("/messages/{index}"), why)),
            }
        }
        if errors.is_empty() { Ok(messages) } else { Err(errors) }
    }
}

impl Said {
    /// `names` are those of the functions called so far, by the calls' ids.
    fn message(&self, names: &HashMap<String, String>) -> Result<Message, String> {
        match self.role.as_str() {
            "system" | "developer" => Ok(Message::System { content: self.text()? }),
            "user" => Ok(Message::User { content: self.content()? }),
            "assistant" => {
                let mut message = Message::assistant(self.text()?);
                if let Message::Assistant { tool_calls, .. } = &mut message {
                    *tool_calls = self.tool_calls.iter().flatten().map(Called::call).collect();
                }
                Ok(message)
            }
            "tool" => {
                let id = self.tool_call_id.clone().ok_or("a tool's answer names its call")?;
                let tool_name = names.get(&id).cloned().ok_or("there was no such call")?;
                Ok(Message::Tool {
                    tool_call_id: id,
                    tool_name,
                    content: self.text()?,
                    error: false,
                })
            }
            role => Err(format!(
                "no role `{role}`; there are system, developer, user, assistant and tool"
            )),
        }
    }

    fn text(&self) -> Result<String, String> {
        Ok(self.content()?.text())
    }

    fn content(&self) -> Result<Content, String> {
        match &self.content {
            None | Some(Value::Null) => Ok(Content::Text(String::new())),
            Some(Value::String(text)) => Ok(Content::Text(text.clone())),
            Some(Value::Array(parts)) => {
                Ok(Content::Blocks(parts.iter().map(block).collect::<Result<_, _>>()?))
            }
            Some(_) => Err("content is a text or a list of parts".into()),
        }
    }
}

impl Called {
    fn call(&self) -> ToolCall {
        let CalledFunction { name, arguments } = self.function.clone();
        ToolCall { id: self.id.clone(), name, arguments }
    }
}

fn block(part: &Value) -> Result<Block, String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let found = match part["type"].as_str() {
        Some("text") => text(&part["text"]).map(|text| Block::Text { text }),
        Some("image_url") => text(&part["image_url"]["url"]).map(|url| Block::Image { url }),
        Some("file") => text(&part["file"]["file_data"])
            .map(|url| Block::Document { url, name: text(&part["file"]["filename"]) }),
        _ => None,
    };
    found.ok_or_else(|| "a part is a text, an image_url or a file with its data".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(change: &Value) -> ChatRequest {
        let mut body =
            json!({ "model": "sim:echo", "messages": [{ "role": "user", "content": "hi" }] });
        json_patch::merge(&mut body, change);
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn what_was_said_is_understood_in_all_its_forms() {
        let asked = request(&json!({ "messages": [
            { "role": "developer", "content": "Be kind." },
            { "role": "user", "content": [{ "type": "text", "text": "look" },
                { "type": "image_url", "image_url": { "url": "https://example.com/a.png" } }] },
            { "role": "assistant", "content": null, "tool_calls": [{ "id": "c1", "type": "function",
                "function": { "name": "find", "arguments": "{}" } }] },
            { "role": "tool", "tool_call_id": "c1", "content": "found" },
        ]}));

        let messages = asked.messages().unwrap();

        assert_eq!(messages[0], Message::system("Be kind."));
        assert!(
            matches!(&messages[1], Message::User { content: Content::Blocks(blocks) } if blocks.len() == 2)
        );
        assert!(
            matches!(&messages[2], Message::Assistant { tool_calls, .. } if tool_calls[0].name == "find")
        );
        assert!(matches!(&messages[3], Message::Tool { tool_name, .. } if tool_name == "find"));
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        let pointers = |change: &Value| -> Vec<String> {
            let asked = request(change);
            let errors = asked.check().err().or_else(|| asked.messages().err()).unwrap_or_default();
            errors.into_iter().map(|error| error.pointer).collect()
        };
        let function = json!([{ "type": "function", "function": { "name": "f" } }]);

        assert_eq!(pointers(&json!({})), Vec::<String>::new());
        assert_eq!(
            pointers(&json!({ "n": 2, "temperature": 9, "messages": [] })),
            ["/messages", "/n", "/temperature"]
        );
        assert_eq!(pointers(&json!({ "tool_choice": "required" })), ["/tool_choice"]);
        assert_eq!(pointers(&json!({ "model": "agent:a", "tools": function })), ["/tools"]);
        assert_eq!(pointers(&json!({ "tools": [{ "type": "magic" }] })), ["/tools/0"]);
        assert_eq!(
            pointers(&json!({ "messages": [{ "role": "tool", "tool_call_id": "x" }] })),
            ["/messages/0"]
        );
        assert_eq!(pointers(&json!({ "messages": [{ "role": "wizard" }] })), ["/messages/0"]);
    }
}
