//! What the model says.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};

/// What of a request decides the answer.
#[derive(Deserialize)]
pub(super) struct Asked<'a> {
    #[serde(borrow)]
    pub(super) model: Cow<'a, str>,
    #[serde(default)]
    pub(super) stream: bool,
    #[serde(borrow)]
    messages: Vec<Said<'a>>,
    #[serde(default)]
    tools: Vec<Offered>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
}

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Offered {
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// What every call is made with; tools of a benchmark take a text.
const ARGUMENTS: &str = r#"{"text":"benchmark"}"#;
const ANSWER: &str = "The tool said that all is well.";
const CREATED: u64 = 1_700_000_000;

impl Asked<'_> {
    /// The tool to call, when it is the model's turn to call one.
    fn tool(&self) -> Option<&str> {
        let told = self.messages.last().is_some_and(|last| last.role == "tool");
        self.tools.first().filter(|_| !told).map(|tool| tool.function.name.as_str())
    }

    /// The answer in one piece.
    pub(super) fn object(&self) -> String {
        let (message, finish) = match self.tool() {
            Some(name) => {
                let call = json!({ "id": "call_1", "type": "function",
                    "function": { "name": name, "arguments": ARGUMENTS } });
                let message = json!({ "role": "assistant", "content": null, "refusal": null,
                    "tool_calls": [call] });
                (message, "tool_calls")
            }
            None => (json!({ "role": "assistant", "content": ANSWER, "refusal": null }), "stop"),
        };
        let choice = json!({ "index": 0, "message": message, "logprobs": null,
            "finish_reason": finish });
        json!({ "id": "chatcmpl-1", "object": "chat.completion", "created": CREATED,
            "model": self.model, "choices": [choice], "usage": usage() })
        .to_string()
    }

    /// The answer as a stream of chunks.
    pub(super) fn chunks(&self) -> String {
        let mut text = String::with_capacity(1_024);
        if let Some(name) = self.tool() {
            let call = json!({ "index": 0, "id": "call_1", "type": "function",
                    "function": { "name": name, "arguments": "" } });
            let begin = json!({ "role": "assistant", "content": null, "tool_calls": [call] });
            self.push(&mut text, begin, Value::Null);
            let rest = json!({ "index": 0, "function": { "arguments": ARGUMENTS } });
            self.push(&mut text, json!({ "tool_calls": [rest] }), Value::Null);
            self.push(&mut text, json!({}), json!("tool_calls"));
        } else {
            self.push(&mut text, json!({ "role": "assistant", "content": "" }), Value::Null);
            for word in ANSWER.split_inclusive(' ') {
                self.push(&mut text, json!({ "content": word }), Value::Null);
            }
            self.push(&mut text, json!({}), json!("stop"));
        }
        if self.stream_options.as_ref().is_some_and(|options| options.include_usage) {
            text.push_str(&event(&self.model, json!([]), usage()));
        }
        text.push_str("data: [DONE]\n\n");
        text
    }

    fn push(&self, text: &mut String, delta: Value, finish: Value) {
        text.push_str(&event(&self.model, choices(delta, finish), Value::Null));
    }
}

pub(super) fn choices(delta: Value, finish: Value) -> Value {
    json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish }])
}

/// One chunk as a server-sent event.
pub(super) fn event(model: &str, choices: Value, usage: Value) -> String {
    let chunk = json!({ "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": CREATED,
        "model": model, "choices": choices, "usage": usage });
    format!("data: {chunk}\n\n")
}

fn usage() -> Value {
    json!({ "prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30 })
}
