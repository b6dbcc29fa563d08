//! A request for a completion, as OpenAI's clients write it.

use std::sync::Arc;
use std::time::Duration;

use agentcore::{Message, OutputForm, ToolChoice, ToolSpec};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use servicekit::FieldError;
use shared_models::{ConversationId, Effect, WhenBusy};

use super::form;
use super::said::{self, Said};
use crate::http::conversations::check_end_user;
use crate::template::{self, Variables};

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
    /// `auto`, `none`, `required`, or one function by its name.
    #[serde(default)]
    tool_choice: Option<Value>,
    /// `text`, `json_object` or `json_schema`. A model's provider enforces it where it can. An agent's answer is checked, sent
    /// back once when it does not fit, and then fails.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    response_format: Option<Value>,
    /// Only 1.
    #[serde(default)]
    n: Option<u32>,
    /// The person on whose behalf you ask, as you name them. What an agent remembers about end users is kept under this name.
    #[serde(default)]
    pub(super) user: Option<String>,
    /// For agents: the conversation it is a part of. What was said there before takes the place of all messages but the last.
    #[serde(default)]
    pub(super) conversation_id: Option<ConversationId>,
    /// What becomes of it when a run of the conversation is under way: `enqueue` unless said.
    #[serde(default)]
    pub(super) when_busy: Option<WhenBusy>,
    /// For agents: stand in the instructions for `{{ variables.<name> }}`.
    #[serde(default, skip_serializing_if = "Variables::is_empty")]
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub(super) variables: Variables,
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
        let offers = self.tools.as_ref().is_some_and(|tools| !tools.is_empty());
        refuse(offers && self.agent().is_some(), "/tools", "an agent has tools of its own");
        for (index, tool) in self.tools.iter().flatten().enumerate() {
            let wrong = tool.kind != "function" || tool.function.is_none();
            refuse(wrong, &format!("/tools/{index}"), "only functions");
        }
        let talks = self.conversation_id.is_some();
        refuse(talks && self.agent().is_none(), "/conversation_id", "only with an agent");
        let varies = !self.variables.is_empty();
        refuse(varies && self.agent().is_none(), "/variables", "only with an agent");
        refuse(self.when_busy.is_some() && !talks, "/when_busy", "only in a conversation");
        if self.agent().is_some() && check_end_user(self.user.as_deref()).is_some() {
            errors.push(FieldError::new("/user", "1 to 200 bytes, no control characters"));
        }
        errors.extend(template::check_variables(&self.variables));
        errors.extend(self.tool_choice().err());
        errors.extend(self.output().err());
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Whether the model has to call a tool.
    pub(super) fn tool_choice(&self) -> Result<ToolChoice, FieldError> {
        let functions = self.tools.iter().flatten().filter_map(|tool| tool.function.as_ref());
        let names: Vec<&str> = functions.map(|function| function.name.as_str()).collect();
        form::tool_choice(self.tool_choice.as_ref(), &names)
    }

    /// The form that the answer should have.
    pub(super) fn output(&self) -> Result<Option<Arc<OutputForm>>, FieldError> {
        form::output(self.response_format.as_ref())
    }

    /// What the model may call.
    pub(super) fn tools(&self) -> Vec<ToolSpec> {
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
        said::messages(&self.messages)
    }
}

#[cfg(test)]
mod tests {
    use agentcore::Content;

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
        assert_eq!(pointers(&json!({ "response_format": "json" })), ["/response_format"]);
        assert_eq!(pointers(&json!({ "when_busy": "reject" })), ["/when_busy"]);
        assert_eq!(
            pointers(&json!({ "conversation_id": ConversationId::mint() })),
            ["/conversation_id"]
        );
        assert_eq!(pointers(&json!({ "model": "agent:a", "user": "" })), ["/user"]);
        assert_eq!(pointers(&json!({ "model": "agent:a", "tools": function })), ["/tools"]);
        assert_eq!(pointers(&json!({ "tools": [{ "type": "magic" }] })), ["/tools/0"]);
        assert_eq!(
            pointers(&json!({ "messages": [{ "role": "tool", "tool_call_id": "x" }] })),
            ["/messages/0"]
        );
        assert_eq!(pointers(&json!({ "messages": [{ "role": "wizard" }] })), ["/messages/0"]);
    }
}
