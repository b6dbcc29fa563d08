//! Puts the pieces of a streamed reply together.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use shared_models::message::ToolCall;
use shared_models::usage::Usage;

use super::super::errors::{bad_chunk, in_band, in_mid_sentence, malformed};
use super::super::exchange::Protocol;
use super::signatures::{Signatures, Signed};
use crate::model::{ModelError, ModelErrorKind, ModelEvent, Reply, ReplyFinish};

#[derive(Default)]
pub(super) struct Assembler {
    /// Tools by the name they had to be given, and their own.
    renamed: Vec<(String, String)>,
    content: String,
    reasoning: String,
    calls: Vec<ToolCall>,
    signatures: Signatures,
    usage: Usage,
    finish: Option<ReplyFinish>,
}

impl Protocol for Assembler {
    fn take(&mut self, data: &str, events: &mut VecDeque<ModelEvent>) -> Result<(), ModelError> {
        let chunk: Chunk = serde_json::from_str(data).map_err(bad_chunk)?;
        self.take_chunk(chunk, events)
    }

    fn take_whole(
        &mut self,
        body: &str,
        events: &mut VecDeque<ModelEvent>,
    ) -> Result<(), ModelError> {
        // Asked for a stream, a server that knows no `alt=sse` answers with a list.
        let chunks: Vec<Chunk> = if body.trim_start().starts_with('[') {
            serde_json::from_str(body).map_err(bad_chunk)?
        } else {
            vec![serde_json::from_str(body).map_err(bad_chunk)?]
        };
        for chunk in chunks {
            self.take_chunk(chunk, events)?;
        }
        match self.finish {
            Some(_) => Ok(()),
            None => Err(malformed("a reply without a finished candidate")),
        }
    }

    /// Usage and more may follow the end of the reply; the stream says itself when it is over.
    fn is_over(&self) -> bool {
        false
    }

    fn is_complete(&self) -> bool {
        self.finish.is_some()
    }

    fn finish(&mut self) -> Result<Reply, ModelError> {
        let Some(finish) = self.finish else { return Err(in_mid_sentence()) };
        let Self { content, reasoning, calls, signatures, usage, .. } = std::mem::take(self);
        let finish = match finish {
            ReplyFinish::Stop if !calls.is_empty() => ReplyFinish::ToolCalls,
            finish => finish,
        };
        let reasoning = (!reasoning.is_empty()).then_some(reasoning);
        let replay = signatures.keep();
        Ok(Reply { content, reasoning, tool_calls: calls, usage, finish, replay })
    }
}

impl Assembler {
    pub(super) fn new(renamed: Vec<(String, String)>) -> Self {
        Self { renamed, ..Self::default() }
    }

    fn take_chunk(
        &mut self,
        chunk: Chunk<'_>,
        events: &mut VecDeque<ModelEvent>,
    ) -> Result<(), ModelError> {
        if let Some(error) = chunk.error {
            return Err(in_band(&error));
        }
        // Each chunk says it anew, and the last one is right.
        if let Some(usage) = chunk.usage_metadata {
            self.usage = usage.into_buckets();
        }
        if let Some(reason) = chunk.prompt_feedback.and_then(|feedback| feedback.block_reason) {
            let message = format!("the conversation was blocked: {reason}");
            return Err(ModelError::new(ModelErrorKind::Refused, message));
        }
        let Some(candidate) = chunk.candidates.unwrap_or_default().into_iter().next() else {
            return Ok(());
        };
        for part in candidate.content.and_then(|content| content.parts).unwrap_or_default() {
            self.take_part(part, events);
        }
        match candidate.finish_reason {
            Some(reason) => self.stop(reason, candidate.finish_message),
            None => Ok(()),
        }
    }

    fn take_part(&mut self, part: Part<'_>, events: &mut VecDeque<ModelEvent>) {
        let thought = part.thought.unwrap_or(false);
        if let Some(call) = part.function_call {
            self.take_call(call, part.thought_signature, events);
            return;
        }
        if !thought && part.thought_signature.is_some() {
            self.signatures.text = part.thought_signature;
        }
        let Some(text) = part.text.filter(|text| !text.is_empty()) else { return };
        if thought {
            self.reasoning.push_str(&text);
            events.push_back(ModelEvent::ReasoningDelta(text));
        } else {
            self.content.push_str(&text);
            events.push_back(ModelEvent::TextDelta(text));
        }
    }

    /// A call comes whole.
    fn take_call(
        &mut self,
        call: Call<'_>,
        signature: Option<String>,
        events: &mut VecDeque<ModelEvent>,
    ) {
        let arguments = call.args.map_or("{}", RawValue::get).to_owned();
        let own = self.renamed.iter().find(|(there, _)| *there == call.name);
        let name = own.map_or(call.name, |(_, here)| here.clone());
        let id = call.id.filter(|id| !id.is_empty());
        self.signatures.calls.push(Signed { signature, id: id.clone() });
        events.push_back(ModelEvent::ToolCallDelta {
            index: self.calls.len(),
            id: id.clone(),
            name: Some(name.clone()),
            arguments: arguments.clone(),
        });
        self.calls.push(ToolCall { id: id.unwrap_or_default(), name, arguments });
    }

    fn stop(&mut self, reason: String, message: Option<String>) -> Result<(), ModelError> {
        self.finish = Some(match reason.as_str() {
            "MAX_TOKENS" => ReplyFinish::Length,
            "SAFETY" | "RECITATION" | "LANGUAGE" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII"
            | "IMAGE_SAFETY" => ReplyFinish::ContentFilter,
            // The model began a call and lost its way; asked again it mostly finds it.
            "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" => {
                let message = format!("{reason}: {}", message.unwrap_or_default());
                return Err(ModelError::new(ModelErrorKind::Cut, message));
            }
            _ => ReplyFinish::Stop,
        });
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk<'a> {
    error: Option<Value>,
    #[serde(borrow)]
    candidates: Option<Vec<Candidate<'a>>>,
    prompt_feedback: Option<Feedback>,
    usage_metadata: Option<WireUsage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(borrow)]
    content: Option<Content<'a>>,
    finish_reason: Option<String>,
    finish_message: Option<String>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    parts: Option<Vec<Part<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    text: Option<String>,
    thought: Option<bool>,
    #[serde(borrow)]
    function_call: Option<Call<'a>>,
    thought_signature: Option<String>,
}

#[derive(Deserialize)]
struct Call<'a> {
    id: Option<String>,
    name: String,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback {
    block_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_field_names, reason = "the names are Google's")]
struct WireUsage {
    prompt_token_count: Option<u64>,
    cached_content_token_count: Option<u64>,
    tool_use_prompt_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
}

impl WireUsage {
    /// "UsageMetadata": what was cached is within the prompt, thoughts are not within the candidates.
    fn into_buckets(self) -> Usage {
        let cached = self.cached_content_token_count.unwrap_or(0);
        let prompt = self.prompt_token_count.unwrap_or(0).saturating_sub(cached);
        Usage {
            input_tokens: prompt.saturating_add(self.tool_use_prompt_token_count.unwrap_or(0)),
            cache_read_tokens: cached,
            cache_write_tokens: 0,
            output_tokens: self.candidates_token_count.unwrap_or(0),
            reasoning_tokens: self.thoughts_token_count.unwrap_or(0),
        }
    }
}
