//! Puts the pieces of a streamed reply together.

use std::collections::{BTreeMap, VecDeque};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use shared_models::message::ToolCall;
use shared_models::usage::Usage;

use super::super::errors::{bad_chunk, in_band, in_mid_sentence, malformed};
use super::super::exchange::Protocol;
use super::order::{self, Piece};
use crate::model::{ModelError, ModelEvent, Reply, ReplyFinish};

#[derive(Default)]
pub(super) struct Assembler {
    blocks: BTreeMap<usize, Block>,
    calls: usize,
    usage: Usage,
    finish: Option<ReplyFinish>,
    over: bool,
}

/// A block as it grows.
enum Block {
    Text(String),
    Thinking { thinking: String, signature: String },
    Redacted(Value),
    Call { index: usize, call: ToolCall },
}

impl Protocol for Assembler {
    fn take(&mut self, data: &str, events: &mut VecDeque<ModelEvent>) -> Result<(), ModelError> {
        match serde_json::from_str(data).map_err(bad_chunk)? {
            Event::MessageStart { message } => self.take_usage(message.usage),
            Event::ContentBlockStart { index, content_block } => {
                self.begin(index, content_block, events);
            }
            Event::ContentBlockDelta { index, delta } => return self.grow(index, delta, events),
            Event::MessageDelta { delta, usage } => {
                self.take_usage(usage);
                self.stop(delta.stop_reason.as_deref());
            }
            Event::MessageStop => self.over = true,
            Event::Error { error } => return Err(in_band(&error)),
            Event::Other => {}
        }
        Ok(())
    }

    fn take_whole(
        &mut self,
        body: &str,
        events: &mut VecDeque<ModelEvent>,
    ) -> Result<(), ModelError> {
        let body: Whole = serde_json::from_str(body).map_err(bad_chunk)?;
        if let Some(error) = body.error {
            return Err(in_band(&error));
        }
        let content = body.content.ok_or_else(|| malformed("a message without content"))?;
        for (index, block) in content.into_iter().enumerate() {
            self.begin(index, block, events);
        }
        self.take_usage(body.usage);
        self.stop(Some(body.stop_reason.as_deref().unwrap_or("end_turn")));
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn is_complete(&self) -> bool {
        self.finish.is_some()
    }

    fn finish(&mut self) -> Result<Reply, ModelError> {
        let Some(finish) = self.finish else { return Err(in_mid_sentence()) };
        let mut reply = Reply { finish, usage: self.usage, ..Reply::default() };
        let mut pieces = Vec::new();
        let mut thoughts = String::new();
        for block in std::mem::take(&mut self.blocks).into_values() {
            pieces.push(match block {
                Block::Text(text) => {
                    reply.content.push_str(&text);
                    Piece::Text(text.len())
                }
                Block::Thinking { thinking, signature } => {
                    thoughts.push_str(&thinking);
                    Piece::Thinking(json!({ "type": "thinking", "thinking": thinking,
                        "signature": signature }))
                }
                Block::Redacted(block) => Piece::Thinking(block),
                Block::Call { mut call, .. } => {
                    if call.arguments.is_empty() {
                        call.arguments = "{}".into();
                    }
                    reply.tool_calls.push(call);
                    Piece::Call
                }
            });
        }
        reply.reasoning = (!thoughts.is_empty()).then_some(thoughts);
        reply.replay = order::keep(pieces);
        Ok(reply)
    }
}

impl Assembler {
    fn begin(&mut self, index: usize, block: Start, events: &mut VecDeque<ModelEvent>) {
        let block = match block {
            Start::Text { text } => {
                if !text.is_empty() {
                    events.push_back(ModelEvent::TextDelta(text.clone()));
                }
                Block::Text(text)
            }
            Start::Thinking { thinking, signature } => {
                if !thinking.is_empty() {
                    events.push_back(ModelEvent::ReasoningDelta(thinking.clone()));
                }
                Block::Thinking { thinking, signature }
            }
            Start::RedactedThinking { data } => {
                Block::Redacted(json!({ "type": "redacted_thinking", "data": data }))
            }
            Start::ToolUse { id, name, input } => {
                let arguments = match input {
                    Some(input) if !input.is_empty() => Value::Object(input).to_string(),
                    _ => String::new(),
                };
                let call = ToolCall { id, name, arguments };
                let index = self.calls;
                self.calls += 1;
                events.push_back(ModelEvent::ToolCallDelta {
                    index,
                    id: Some(call.id.clone()),
                    name: Some(call.name.clone()),
                    arguments: call.arguments.clone(),
                });
                Block::Call { index, call }
            }
            Start::Other => return,
        };
        self.blocks.insert(index, block);
    }

    fn grow(
        &mut self,
        index: usize,
        delta: Delta,
        events: &mut VecDeque<ModelEvent>,
    ) -> Result<(), ModelError> {
        match (self.blocks.get_mut(&index), delta) {
            (Some(Block::Text(text)), Delta::TextDelta { text: more }) => {
                text.push_str(&more);
                events.push_back(ModelEvent::TextDelta(more));
            }
            (Some(Block::Thinking { thinking, .. }), Delta::ThinkingDelta { thinking: more }) => {
                thinking.push_str(&more);
                events.push_back(ModelEvent::ReasoningDelta(more));
            }
            (
                Some(Block::Thinking { signature, .. }),
                Delta::SignatureDelta { signature: more },
            ) => {
                signature.push_str(&more);
            }
            (Some(Block::Call { index, call }), Delta::InputJsonDelta { partial_json }) => {
                call.arguments.push_str(&partial_json);
                if !partial_json.is_empty() {
                    let (index, arguments) = (*index, partial_json);
                    let (id, name) = (None, None);
                    events.push_back(ModelEvent::ToolCallDelta { index, id, name, arguments });
                }
            }
            // Of a block, or about one, that we do not know.
            (None, _) | (Some(_), Delta::Other) => {}
            (Some(_), _) => return Err(malformed("a piece that does not fit its block")),
        }
        Ok(())
    }

    /// The numbers of the end are totals, not additions; what they leave out was said at the beginning.
    fn take_usage(&mut self, usage: Option<WireUsage>) {
        let Some(usage) = usage else { return };
        let now = &mut self.usage;
        now.input_tokens = usage.input_tokens.unwrap_or(now.input_tokens);
        now.output_tokens = usage.output_tokens.unwrap_or(now.output_tokens);
        now.cache_read_tokens = usage.cache_read_input_tokens.unwrap_or(now.cache_read_tokens);
        now.cache_write_tokens =
            usage.cache_creation_input_tokens.unwrap_or(now.cache_write_tokens);
    }

    fn stop(&mut self, reason: Option<&str>) {
        let finish = match reason {
            None => return,
            Some("tool_use") => ReplyFinish::ToolCalls,
            Some("max_tokens" | "model_context_window_exceeded") => ReplyFinish::Length,
            Some("refusal") => ReplyFinish::ContentFilter,
            Some("pause_turn") => ReplyFinish::Pause,
            // `end_turn`, `stop_sequence` and what is still to come.
            Some(_) => ReplyFinish::Stop,
        };
        self.finish = Some(finish);
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Begun,
    },
    ContentBlockStart {
        index: usize,
        content_block: Start,
    },
    ContentBlockDelta {
        index: usize,
        delta: Delta,
    },
    MessageDelta {
        delta: Stopped,
        #[serde(default)]
        usage: Option<WireUsage>,
    },
    MessageStop,
    Error {
        error: Value,
    },
    /// `ping`, `content_block_stop` and what is still to come.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Begun {
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Stopped {
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct Whole {
    error: Option<Value>,
    content: Option<Vec<Start>>,
    stop_reason: Option<String>,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Start {
    Text {
        text: String,
    },
    Thinking {
        thinking: String,
        #[serde(default)]
        signature: String,
    },
    RedactedThinking {
        data: Value,
    },
    ToolUse {
        id: String,
        name: String,
        input: Option<Map<String, Value>>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(clippy::enum_variant_names, reason = "the names are Anthropic's")]
enum Delta {
    TextDelta {
        text: String,
    },
    ThinkingDelta {
        thinking: String,
    },
    SignatureDelta {
        signature: String,
    },
    InputJsonDelta {
        partial_json: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[allow(clippy::struct_field_names, reason = "the names are Anthropic's")]
struct WireUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}
