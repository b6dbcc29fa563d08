//! What was said so far, as OpenAI's clients write it.

use std::collections::HashMap;

use agentcore::{Block, Content, Message, ToolCall};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use servicekit::FieldError;

/// What was said, in our words.
pub(super) fn messages(all: &[Said]) -> Result<Vec<Message>, Vec<FieldError>> {
    let (mut messages, mut errors) = (Vec::new(), Vec::new());
    let mut names = HashMap::new();
    for (index, said) in all.iter().enumerate() {
        let calls = said.tool_calls.iter().flatten();
        names.extend(calls.map(|call| (call.id.clone(), call.function.name.clone())));
        match said.message(&names) {
            Ok(message) => messages.push(message),
            Err(why) => errors.push(FieldError::new(format!("/messages/{index}"), why)),
        }
    }
    if errors.is_empty() { Ok(messages) } else { Err(errors) }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Said {
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
