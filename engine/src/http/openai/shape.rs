//! Answers as OpenAI's clients read them.

use agentcore::{Failure, FailureCode, Reply, ReplyFinish, ToolCall};
use axum::response::sse::Event;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use servicekit::Problem;
use shared_models::Usage;

use crate::codes;

/// What is the same in a whole answer and in each of its pieces.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Shape {
    pub(super) id: String,
    /// As it was asked for.
    pub(super) model: String,
    /// In seconds since 1970.
    pub(super) created: i64,
    pub(super) include_usage: bool,
}

impl Shape {
    /// The whole answer.
    pub(super) fn whole(&self, message: &Value, finish: &str, usage: &Usage) -> Value {
        json!({ "id": self.id, "object": "chat.completion", "created": self.created, "model": self.model,
            "choices": [{ "index": 0, "message": message, "logprobs": null, "finish_reason": finish }],
            "usage": tokens(usage) })
    }

    /// A piece of it.
    pub(super) fn piece(&self, delta: &Value) -> Event {
        self.chunk(
            &json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": null }]),
            None,
        )
    }

    /// Its end: why, what it took, and that nothing follows.
    pub(super) fn end(&self, finish: &str, usage: &Usage) -> Vec<Event> {
        let last = json!([{ "index": 0, "delta": {}, "logprobs": null, "finish_reason": finish }]);
        let mut events = vec![self.chunk(&last, None)];
        if self.include_usage {
            events.push(self.chunk(&json!([]), Some(usage)));
        }
        events.push(Event::default().data("[DONE]"));
        events
    }

    /// A stream that says everything at once.
    pub(super) fn in_one_piece(&self, message: &Value, finish: &str, usage: &Usage) -> Vec<Event> {
        let mut delta = message.clone();
        for (index, call) in delta["tool_calls"].as_array_mut().into_iter().flatten().enumerate() {
            call["index"] = json!(index);
        }
        let mut events = vec![self.piece(&delta)];
        events.extend(self.end(finish, usage));
        events
    }

    fn chunk(&self, choices: &Value, usage: Option<&Usage>) -> Event {
        let mut chunk = json!({ "id": self.id, "object": "chat.completion.chunk", "created": self.created,
            "model": self.model, "choices": choices });
        if self.include_usage {
            chunk["usage"] = usage.map_or(Value::Null, tokens);
        }
        Event::default().data(chunk.to_string())
    }
}

/// What breaks an answer off that has begun.
pub(super) fn broken(code: &str, message: &str) -> Event {
    let error = json!({ "error": { "message": message, "type": "server_error", "param": null, "code": code } });
    Event::default().data(error.to_string())
}

pub(super) fn message(reply: &Reply) -> Value {
    let content =
        (!reply.content.is_empty() || reply.tool_calls.is_empty()).then_some(&reply.content);
    let mut message = json!({ "role": "assistant", "content": content, "refusal": null });
    if let Some(reasoning) = &reply.reasoning {
        message["reasoning_content"] = json!(reasoning);
    }
    if !reply.tool_calls.is_empty() {
        message["tool_calls"] = reply.tool_calls.iter().map(call).collect();
    }
    message
}

pub(super) fn call(call: &ToolCall) -> Value {
    json!({ "id": call.id, "type": "function", "function": { "name": call.name, "arguments": call.arguments } })
}

pub(super) fn finish(reply: &Reply) -> &'static str {
    match reply.finish {
        _ if !reply.tool_calls.is_empty() => "tool_calls",
        ReplyFinish::Length => "length",
        ReplyFinish::ContentFilter => "content_filter",
        _ => "stop",
    }
}

fn tokens(usage: &Usage) -> Value {
    json!({ "prompt_tokens": usage.all_input(), "completion_tokens": usage.all_output(),
        "total_tokens": usage.total(),
        "prompt_tokens_details": { "cached_tokens": usage.cache_read_tokens, "audio_tokens": 0 },
        "completion_tokens_details": { "reasoning_tokens": usage.reasoning_tokens, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0 } })
}

/// A model's failure before it has said anything.
pub(super) fn refusal(failure: &Failure) -> Problem {
    let code = match failure.code {
        FailureCode::ContextLength | FailureCode::ModelRejected => &codes::MODEL_REFUSED,
        _ => &codes::MODEL_FAILED,
    };
    Problem::new(code, failure.message.clone())
}
