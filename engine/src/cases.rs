//! Test cases of agents: what is said to the agent, what its tools answer, and what is expected of it.

pub(crate) mod expectation;

use agentcore::{Block, Content, Message};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use servicekit::FieldError;
use utoipa::ToSchema;

use crate::committer::printable;
use crate::definition::unstorable;
use crate::replay::{self, Otherwise, Recorded, Replay};
use crate::template::{self, Variables};
use expectation::Expectation;

const LONGEST_NAME: usize = 200;
pub(crate) const MOST_EXPECTATIONS: usize = 64;
/// Models that judge a case are asked at the same time.
const MOST_JUDGES: usize = 8;
const MOST_ANSWERS: usize = 1000;
/// A case as a whole, as JSON.
const LONGEST: usize = 1024 * 1024;

/// A case as it can be edited. A patch is merged into this form and read back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CaseFields {
    /// Unique among the agent's cases.
    #[schema(min_length = 1, max_length = 200)]
    pub(crate) name: String,
    /// What is said to the agent: a text, a list of content blocks, or any other JSON, which it reads as text.
    pub(crate) input: Value,
    /// What was said before.
    #[serde(default)]
    pub(crate) history: Vec<Message>,
    /// Stand in the instructions for `{{ variables.<name> }}`.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub(crate) variables: Variables,
    /// Whether tools answer from `answers`, or are called.
    #[serde(default)]
    pub(crate) tools: Tools,
    /// What tools answer: at most 1,000.
    #[serde(default)]
    pub(crate) answers: Vec<ToolAnswer>,
    /// What must be so when the run has ended: at most 64, of which models judge at most 8. That it succeeds is
    /// always expected.
    #[serde(default)]
    pub(crate) expectations: Vec<Expectation>,
}

/// Where a case's tools have their answers from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tools {
    /// From the case. A call it has no answer for is not made, and the model is told so.
    #[default]
    Recorded,
    /// They are called, with all that they do.
    Live,
}

/// What a tool answers to a call with these arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToolAnswer {
    /// The name that the model calls.
    pub(crate) tool: String,
    /// Compared as JSON values, whatever the order of their fields.
    #[serde(default = "nothing")]
    #[schema(value_type = Object)]
    pub(crate) arguments: Value,
    pub(crate) content: String,
    /// Whether the answer is that the call has failed.
    #[serde(default)]
    pub(crate) error: bool,
}

fn nothing() -> Value {
    Value::Object(serde_json::Map::new())
}

impl CaseFields {
    /// How long it is, as JSON.
    pub(crate) fn bytes(&self) -> usize {
        serde_json::to_vec(self).map_or(usize::MAX, |body| body.len())
    }

    /// Everything that cannot be so.
    pub(crate) fn check(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut refuse = |pointer: &str, why: &str| errors.push(FieldError::new(pointer, why));
        if self.name.trim().is_empty() || self.name.chars().count() > LONGEST_NAME {
            refuse("/name", "1 to 200 characters");
        }
        if self.input.is_null() || self.input.as_str().is_some_and(str::is_empty) {
            refuse("/input", "must not be empty");
        }
        if self.answers.len() > MOST_ANSWERS {
            refuse("/answers", "at most 1,000");
        }
        if self.expectations.len() > MOST_EXPECTATIONS {
            refuse("/expectations", "at most 64");
        }
        let judged = |one: &&Expectation| matches!(one, Expectation::Judged { .. });
        if self.expectations.iter().filter(judged).count() > MOST_JUDGES {
            refuse("/expectations", "at most 8 that a model judges");
        }
        if self.bytes() > LONGEST {
            refuse("", "a case is at most 1 MiB");
        }
        errors.extend(unstorable(&serde_json::to_value(self).unwrap_or_default(), ""));
        if !self.variables.values().any(|value| value.contains('\0')) {
            errors.extend(template::check_variables(&self.variables));
        }
        let each = self.expectations.iter().enumerate();
        errors.extend(each.flat_map(|(n, one)| one.check(&format!("/expectations/{n}"))));
        errors
    }

    /// What the agent is told.
    pub(crate) fn message(&self) -> Message {
        if let Value::String(text) = &self.input {
            return Message::user(text);
        }
        match serde_json::from_value::<Vec<Block>>(self.input.clone()) {
            Ok(blocks) if !blocks.is_empty() => Message::User { content: Content::Blocks(blocks) },
            _ => Message::user(self.input.to_string()),
        }
    }

    /// What its run answers tools with; none when they are called.
    pub(crate) fn replay(&self, tools: Tools) -> Option<Replay> {
        (tools == Tools::Recorded).then(|| Replay {
            answers: self.answers.iter().map(ToolAnswer::recorded).collect(),
            otherwise: Otherwise::Refuse,
        })
    }
}

impl ToolAnswer {
    fn recorded(&self) -> Recorded {
        Recorded {
            tool_name: self.tool.clone(),
            arguments: replay::hash(&self.arguments.to_string()),
            content: self.content.clone(),
            error: self.error,
        }
    }
}

/// A message as the input of a case.
pub(crate) fn input_of(message: &Message) -> Value {
    match message {
        Message::User { content: Content::Text(text) } => text.clone().into(),
        Message::User { content } => serde_json::to_value(content).unwrap_or_default(),
        Message::System { content }
        | Message::Assistant { content, .. }
        | Message::Tool { content, .. } => content.clone().into(),
    }
}

/// A call that a model has asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Called {
    pub(crate) tool: String,
    pub(crate) arguments: Value,
}

/// The calls of a conversation, in the order they were asked for. What is no JSON cannot be expected.
pub(crate) fn calls(said: &[Message]) -> Vec<Called> {
    let mut calls = Vec::new();
    for message in said {
        let Message::Assistant { tool_calls, .. } = message else { continue };
        calls.extend(tool_calls.iter().filter_map(|call| {
            Some(Called { tool: call.name.clone(), arguments: arguments(&call.arguments)? })
        }));
    }
    calls
}

/// The answers that the calls of a conversation got.
pub(crate) fn answers(said: &[Message]) -> Vec<ToolAnswer> {
    let mut answers = Vec::new();
    for (place, message) in said.iter().enumerate() {
        let Message::Assistant { tool_calls, .. } = message else { continue };
        for call in tool_calls {
            let answer = said.iter().skip(place).find_map(|message| match message {
                Message::Tool { tool_call_id, content, error, .. } if *tool_call_id == call.id => {
                    Some((content.clone(), *error))
                }
                _ => None,
            });
            let (Some((content, error)), Some(arguments)) = (answer, arguments(&call.arguments))
            else {
                continue;
            };
            if unstorable(&arguments, "").is_empty() {
                let content = printable(&content);
                answers.push(ToolAnswer { tool: call.name.clone(), arguments, content, error });
            }
        }
    }
    answers
}

fn arguments(text: &str) -> Option<Value> {
    if text.trim().is_empty() { Some(nothing()) } else { serde_json::from_str(text).ok() }
}
