//! What is sent to `messages`.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use shared_models::message::{Content, Message};

use super::super::errors::unwritable;
use super::claude::Version;
use super::content::{Ephemeral, Sent};
use super::form;
use super::order::{self, Piece};
use crate::model::{Effort, ModelError, ModelRequest, Spelling, ToolChoice};

#[derive(Clone, Copy, Default)]
pub(super) struct Manners {
    pub(super) cache: bool,
}

#[derive(Serialize)]
pub(super) struct Body<'a> {
    model: &'a str,
    max_tokens: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Instruction<'a>>,
    messages: Vec<Turn<'a>>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
}

#[derive(Serialize)]
struct Instruction<'a> {
    r#type: &'static str,
    text: std::borrow::Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<Ephemeral>,
}

#[derive(Serialize)]
struct Turn<'a> {
    role: &'static str,
    content: Vec<Sent<'a>>,
}

impl<'a> Body<'a> {
    pub(super) fn of(request: &'a ModelRequest, manners: Manners) -> Result<Self, ModelError> {
        let version = Version::of(&request.model);
        let tools = request.tools.written(Spelling::Anthropic, form::tools).map_err(unwritable)?;
        let tool_choice = tools.and(choice(&request.tool_choice));
        let thinking = Thinking::of(request, version, tool_choice.is_some());
        let form = request.output.as_deref().map(|output| &output.schema);
        let enforced = form.filter(|_| version.takes_forms()).and_then(form::closed);
        let in_words = form.filter(|_| enforced.is_none()).map(form::in_words);
        let warmth = request.temperature.filter(|warmth| *warmth < 1.0);
        Ok(Self {
            model: &request.model,
            max_tokens: thinking.room(request.max_tokens, version),
            system: system(&request.messages, in_words, manners),
            messages: turns(&request.messages, manners)?,
            stream: true,
            tools,
            tool_choice,
            output_config: output_config(enforced, thinking.effort()),
            temperature: warmth.filter(|_| thinking.is_off() && version.takes_temperature()),
            thinking: thinking.wire(),
        })
    }
}

fn output_config(form: Option<Value>, effort: Option<Effort>) -> Option<Value> {
    let format = form.map(|schema| json!({ "type": "json_schema", "schema": schema }));
    let effort = effort.map(Effort::name);
    let mut config = serde_json::Map::new();
    config.extend(format.map(|format| ("format".to_owned(), format)));
    config.extend(effort.map(|effort| ("effort".to_owned(), effort.into())));
    (!config.is_empty()).then_some(config.into())
}

fn choice(choice: &ToolChoice) -> Option<Value> {
    match choice {
        ToolChoice::Auto => None,
        ToolChoice::None => Some(json!({ "type": "none" })),
        ToolChoice::Required => Some(json!({ "type": "any" })),
        ToolChoice::Tool(name) => Some(json!({ "type": "tool", "name": name })),
    }
}

/// Whether and how the model is to think.
enum Thinking {
    Off,
    Budget(u32),
    Adaptive(Effort),
}

impl Thinking {
    /// The least that "Extended thinking" allows.
    const LEAST: u32 = 1024;

    fn of(request: &ModelRequest, version: Version, tools_are_set: bool) -> Self {
        let forced = tools_are_set && request.tool_choice != ToolChoice::None;
        match request.reasoning {
            Some(_) if forced => Self::Off,
            Some(effort) if version.thinks_adaptively() => Self::Adaptive(effort),
            Some(effort) if version.thinks_to_budget() && may_begin(&request.messages) => {
                let wanted = match effort {
                    Effort::Low => 2048,
                    Effort::Medium => 8192,
                    Effort::High => 16_384,
                };
                // It has to be less than what the whole reply may take.
                let most = request.max_tokens.map_or(wanted, |limit| wanted.min(limit / 2));
                if most < Self::LEAST { Self::Off } else { Self::Budget(most) }
            }
            Some(_) | None => Self::Off,
        }
    }

    fn room(&self, asked: Option<u32>, version: Version) -> u32 {
        let more = match self {
            Self::Off => 0,
            Self::Budget(budget) => *budget,
            Self::Adaptive(_) => 16_384,
        };
        asked.unwrap_or(version.room() + more)
    }

    fn is_off(&self) -> bool {
        matches!(self, Self::Off)
    }

    fn effort(&self) -> Option<Effort> {
        if let Self::Adaptive(effort) = self { Some(*effort) } else { None }
    }

    fn wire(&self) -> Option<Value> {
        match self {
            Self::Off => None,
            Self::Budget(budget) => Some(json!({ "type": "enabled", "budget_tokens": budget })),
            // Left out of newer models' answers unless asked for.
            Self::Adaptive(_) => Some(json!({ "type": "adaptive", "display": "summarized" })),
        }
    }
}

/// A turn with tool calls that began without thinking, with another model say, cannot go on with it.
fn may_begin(messages: &[Message]) -> bool {
    let last = messages.iter().rev().find(|message| !matches!(message, Message::Tool { .. }));
    match last {
        Some(Message::Assistant { content, tool_calls, replay, .. }) => {
            order::read(replay.as_ref(), content, tool_calls.len()).is_some()
        }
        _ => true,
    }
}

fn system(
    messages: &[Message],
    in_words: Option<String>,
    manners: Manners,
) -> Vec<Instruction<'_>> {
    let said = messages.iter().filter_map(|message| match message {
        Message::System { content } if !content.trim().is_empty() => Some(content.into()),
        _ => None,
    });
    let texts = said.chain(in_words.map(Into::into));
    let mut system: Vec<Instruction> =
        texts.map(|text| Instruction { r#type: "text", text, cache_control: None }).collect();
    if let Some(last) = system.last_mut().filter(|_| manners.cache) {
        last.cache_control = Some(Ephemeral {});
    }
    system
}

/// "Messages": user and assistant by turns. Results of tools are said by the user, all of a turn in one message, and
/// before anything else.
fn turns(messages: &[Message], manners: Manners) -> Result<Vec<Turn<'_>>, ModelError> {
    let mut turns: Vec<Turn> = Vec::new();
    for message in messages {
        let (role, content) = match message {
            Message::System { .. } => continue,
            Message::User { content: Content::Text(text) } => {
                ("user", Sent::text(text).into_iter().collect())
            }
            Message::User { content: Content::Blocks(blocks) } => {
                let blocks = blocks.iter().filter_map(|block| Sent::block(block).transpose());
                ("user", blocks.collect::<Result<_, _>>()?)
            }
            Message::Assistant { .. } => ("assistant", said(message)?),
            Message::Tool { tool_call_id, content, error, .. } => {
                ("user", vec![Sent::result(tool_call_id, content, *error)])
            }
        };
        match turns.last_mut() {
            _ if content.is_empty() => {}
            Some(turn) if turn.role == role => turn.content.extend(content),
            _ => turns.push(Turn { role, content }),
        }
    }
    if let Some(last) = turns.last_mut().and_then(|turn| turn.content.last_mut())
        && manners.cache
    {
        last.cache();
    }
    Ok(turns)
}

fn said(message: &Message) -> Result<Vec<Sent<'_>>, ModelError> {
    let Message::Assistant { content, tool_calls, replay, reasoning: _ } = message else {
        return Ok(Vec::new());
    };
    let Some(pieces) = order::read(replay.as_ref(), content, tool_calls.len()) else {
        let text = Sent::text(content).map(Ok);
        return text.into_iter().chain(tool_calls.iter().map(Sent::call)).collect();
    };
    let (mut text, mut calls) = (content.as_str(), tool_calls.iter());
    let mut sent = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Thinking(block) => sent.push(Sent::Kept(block)),
            Piece::Text(length) => {
                let (now, rest) = text.split_at_checked(length).unwrap_or((text, ""));
                text = rest;
                sent.extend(Sent::text(now));
            }
            Piece::Call => sent.extend(calls.next().map(Sent::call).transpose()?),
        }
    }
    Ok(sent)
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
