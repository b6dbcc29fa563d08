//! Puts the pieces of a streamed reply together.

use std::collections::{BTreeMap, VecDeque};

use serde::Deserialize;
use serde_json::Value;
use shared_models::message::ToolCall;
use shared_models::usage::Usage;

use super::super::errors::{bad_chunk, in_band, in_mid_sentence, malformed};
use super::super::exchange::Protocol;
use crate::model::{ModelError, ModelEvent, Reply, ReplyFinish};

/// Takes chunks in the order they came; knows when the reply is complete.
#[derive(Default)]
pub(super) struct Assembler {
    content: String,
    reasoning: String,
    calls: BTreeMap<usize, Call>,
    usage: Usage,
    finish: Option<ReplyFinish>,
    /// Nothing follows.
    over: bool,
}

#[derive(Default)]
struct Call {
    id: String,
    name: String,
    arguments: String,
}

impl Protocol for Assembler {
    fn take(&mut self, data: &str, events: &mut VecDeque<ModelEvent>) -> Result<(), ModelError> {
        if data.trim() == "[DONE]" {
            self.done();
            return Ok(());
        }
        self.take_chunk(data, false, events)
    }

    fn take_whole(
        &mut self,
        body: &str,
        events: &mut VecDeque<ModelEvent>,
    ) -> Result<(), ModelError> {
        self.take_chunk(body, true, events)
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn is_complete(&self) -> bool {
        self.finish.is_some()
    }

    fn finish(&mut self) -> Result<Reply, ModelError> {
        let Some(finish) = self.finish else { return Err(in_mid_sentence()) };
        let Self { content, reasoning, calls, usage, .. } = std::mem::take(self);
        let calls = calls.into_values();
        let tool_calls: Vec<ToolCall> =
            calls.map(|Call { id, name, arguments }| ToolCall { id, name, arguments }).collect();
        // Several servers say "stop" beside tool calls.
        let finish = match finish {
            ReplyFinish::Stop if !tool_calls.is_empty() => ReplyFinish::ToolCalls,
            finish => finish,
        };
        let reasoning = (!reasoning.is_empty()).then_some(reasoning);
        Ok(Reply { content, reasoning, tool_calls, usage, finish, replay: None })
    }
}

impl Assembler {
    /// The server says that this was all. It need not have said why, if it said anything.
    fn done(&mut self) {
        self.over = true;
        if !self.content.is_empty() || !self.calls.is_empty() {
            self.finish.get_or_insert(ReplyFinish::Stop);
        }
    }

    fn take_chunk(
        &mut self,
        json: &str,
        whole: bool,
        events: &mut VecDeque<ModelEvent>,
    ) -> Result<(), ModelError> {
        let chunk: Chunk = serde_json::from_str(json).map_err(bad_chunk)?;
        if let Some(error) = chunk.error {
            return Err(in_band(&error));
        }
        if let Some(usage) = chunk.usage {
            self.usage = usage.into_buckets();
        }
        let Some(choice) = chunk.choices.unwrap_or_default().into_iter().next() else {
            return if whole { Err(malformed("a reply without choices")) } else { Ok(()) };
        };
        if let Some(delta) = choice.delta.or(choice.message) {
            self.take_delta(delta, events);
        }
        if let Some(reason) = choice.finish_reason {
            self.finish = Some(finish(&reason));
        } else if whole {
            self.finish = Some(ReplyFinish::Stop);
        }
        Ok(())
    }

    fn take_delta(&mut self, delta: Delta, events: &mut VecDeque<ModelEvent>) {
        if let Some(text) = delta.reasoning_content.or(delta.reasoning).filter(|s| !s.is_empty()) {
            self.reasoning.push_str(&text);
            events.push_back(ModelEvent::ReasoningDelta(text));
        }
        // A refusal is what the model says instead of an answer.
        for text in [delta.content, delta.refusal].into_iter().flatten() {
            if !text.is_empty() {
                self.content.push_str(&text);
                events.push_back(ModelEvent::TextDelta(text));
            }
        }
        for piece in delta.tool_calls.unwrap_or_default() {
            events.push_back(self.take_call(piece));
        }
    }

    fn take_call(&mut self, piece: CallDelta) -> ModelEvent {
        let index = piece.index.unwrap_or_else(|| self.index_of(piece.id.as_deref()));
        let call = self.calls.entry(index).or_default();
        let function = piece.function.unwrap_or_default();
        let arguments = match function.arguments {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text,
            Some(object) => object.to_string(),
        };
        // Some servers repeat id and name with every piece.
        let id = piece.id.filter(|id| !id.is_empty() && call.id != *id);
        let name = function.name.filter(|name| !name.is_empty() && call.name != *name);
        if let Some(id) = &id {
            call.id.clone_from(id);
        }
        if let Some(name) = &name {
            call.name.push_str(name);
        }
        call.arguments.push_str(&arguments);
        ModelEvent::ToolCallDelta { index, id, name, arguments }
    }

    /// For servers that do not number their calls: a new id begins a new call, anything else goes on with the last.
    fn index_of(&self, id: Option<&str>) -> usize {
        let last = self.calls.last_key_value().map(|(&index, _)| index);
        let known = |id: &str| self.calls.iter().find(|(_, call)| call.id == id);
        match (id.filter(|id| !id.is_empty()), last) {
            (_, None) => 0,
            (None, Some(last)) => last,
            (Some(id), Some(last)) => known(id).map_or(last.saturating_add(1), |(&index, _)| index),
        }
    }
}

fn finish(reason: &str) -> ReplyFinish {
    match reason {
        "length" => ReplyFinish::Length,
        "content_filter" => ReplyFinish::ContentFilter,
        "tool_calls" | "function_call" => ReplyFinish::ToolCalls,
        _ => ReplyFinish::Stop,
    }
}

#[derive(Deserialize)]
struct Chunk {
    error: Option<Value>,
    choices: Option<Vec<Choice>>,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Option<Delta>,
    message: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
    refusal: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
    tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Deserialize)]
struct CallDelta {
    index: Option<usize>,
    id: Option<String>,
    function: Option<FunctionDelta>,
}

#[derive(Default, Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    arguments: Option<Value>,
}

#[derive(Deserialize)]
struct WireUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
}

impl WireUsage {
    /// On the wire the details are subsets; ours are disjoint.
    fn into_buckets(self) -> Usage {
        let cached = self.prompt_tokens_details.and_then(|details| details.cached_tokens);
        let reasoning = self.completion_tokens_details.and_then(|details| details.reasoning_tokens);
        let (prompt, completion) = (self.prompt_tokens, self.completion_tokens);
        Usage {
            input_tokens: prompt.unwrap_or(0).saturating_sub(cached.unwrap_or(0)),
            cache_read_tokens: cached.unwrap_or(0),
            cache_write_tokens: 0,
            output_tokens: completion.unwrap_or(0).saturating_sub(reasoning.unwrap_or(0)),
            reasoning_tokens: reasoning.unwrap_or(0),
        }
    }
}

#[cfg(test)]
#[path = "assemble_tests.rs"]
mod tests;
