//! What is different in a fork, as people say it.

use std::collections::{BTreeMap, HashMap};

use agentcore::Message;
use agentcore::artifacts::LONGEST_RESULT;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use servicekit::FieldError;
use shared_models::RunMode;
use utoipa::ToSchema;

use super::source::{Source, Wanted};
use crate::definition::{AgentFields, unstorable};
use crate::error::Error;
use crate::record::ContentRef;
use crate::template;

/// Where another run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// Behind this record.
    Seq(i64),
    /// Before the model is asked for this reply, counted from 1.
    Step(u32),
}

/// What is different. Nothing of it need be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edits {
    /// What the run is said to have been told: a text, a list of content blocks, or any other JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) input: Option<Value>,
    /// The agent's instructions; `prompt` is the same. A template, as with an agent.
    #[serde(default, alias = "prompt", skip_serializing_if = "Option::is_none")]
    pub(crate) instructions: Option<String>,
    /// The agent's model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    /// The agent as it is in this version, with the tools that it has now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) agent_version: Option<i32>,
    /// What tools are said to have answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub(crate) tool_results: Vec<ToolResult>,
}

/// What a tool is said to have answered to a call of the other run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToolResult {
    /// Which call, as the other run's journal has it.
    call_id: String,
    /// At most 64 KiB.
    content: String,
    /// It failed, and the content says why.
    #[serde(default)]
    error: bool,
}

const MOST_RESULTS: usize = 100;
const LONGEST_INPUT: usize = 1024 * 1024;

impl Edits {
    /// Everything that cannot be so, whichever run it is about.
    pub(crate) fn check(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut refuse = |wrong: bool, field: &str, why: &str| {
            if wrong {
                errors.push(FieldError::new(format!("/edits/{field}"), why));
            }
        };
        if let Some(input) = &self.input {
            let empty = input.is_null() || input.as_str().is_some_and(str::is_empty);
            refuse(empty, "input", "must not be empty");
            refuse(input.to_string().len() > LONGEST_INPUT, "input", "at most 1 MiB");
        }
        let instructions = self.instructions.as_deref().unwrap_or_default();
        let long = instructions.len() > AgentFields::LONGEST_INSTRUCTIONS;
        refuse(long, "instructions", "at most 256 KiB");
        if let Some(why) = template::check(instructions) {
            refuse(true, "instructions", &why);
        }
        refuse(self.model.as_ref().is_some_and(String::is_empty), "model", "must not be empty");
        refuse(self.tool_results.len() > MOST_RESULTS, "tool_results", "at most 100");
        for (place, result) in self.tool_results.iter().enumerate() {
            let long = result.content.len() > LONGEST_RESULT;
            refuse(long, &format!("tool_results/{place}/content"), "at most 64 KiB");
        }
        for (field, text) in [("instructions", &self.instructions), ("model", &self.model)] {
            let text = text.clone().map_or(Value::Null, Value::String);
            errors.extend(unstorable(&text, &format!("/edits/{field}")));
        }
        errors
    }

    /// What is different, by name.
    pub(super) fn names(&self) -> Vec<String> {
        let said = [
            ("input", self.input.is_some()),
            ("instructions", self.instructions.is_some()),
            ("model", self.model.is_some()),
            ("agent_version", self.agent_version.is_some()),
        ];
        let said = said.into_iter().filter(|(_, said)| *said).map(|(name, _)| name.to_owned());
        let results = self.tool_results.iter().map(|one| format!("tool_results/{}", one.call_id));
        said.chain(results).collect()
    }
}

/// Results that were given in place of those of the other run, by path and call.
#[derive(Default)]
pub(super) struct Given {
    results: HashMap<(String, String), Result>,
}

/// One of them, as the journal refers to it.
pub(super) struct Result {
    pub(super) message: ContentRef,
    pub(super) body: Vec<u8>,
    pub(super) tool_name: String,
    pub(super) error: bool,
    /// Nobody had answered the call, and it was made before the fork.
    pub(super) is_new: bool,
}

impl Given {
    pub(super) fn get(&self, path: &str, call_id: &str) -> Option<&Result> {
        self.results.get(&(path.to_owned(), call_id.to_owned()))
    }

    /// Answers to calls that nobody had answered, each at its path, in a certain order.
    pub(super) fn fresh(&self) -> impl Iterator<Item = (&str, &str, &Result)> {
        let fresh = self.results.iter().filter(|(_, result)| result.is_new);
        let sorted: BTreeMap<_, _> = fresh.collect();
        sorted.into_iter().map(|((path, call), result)| (path.as_str(), call.as_str(), result))
    }

    pub(super) fn bodies(&self) -> impl Iterator<Item = (ContentRef, &[u8])> {
        self.results.values().map(|result| (result.message, result.body.as_slice()))
    }

    /// Finds the calls that results are given for. Those that a live run makes itself are refused.
    pub(super) fn resolve(
        source: &Source,
        upto: i64,
        mode: RunMode,
        results: &[ToolResult],
    ) -> std::result::Result<Self, Error> {
        let calls = source.calls();
        let mut given = Self::default();
        let mut errors = Vec::new();
        for (place, result) in results.iter().enumerate() {
            let mut refuse = |why: &str| {
                let pointer = format!("/edits/tool_results/{place}/call_id");
                errors.push(FieldError::new(pointer, why));
            };
            let Some(call) = calls.iter().find(|call| call.call.id == result.call_id) else {
                refuse("the run has made no such call");
                continue;
            };
            let stands = call.answered.is_some_and(|(seq, _)| seq <= upto);
            if mode.is_live() && call.asked > upto {
                refuse("it was made later than the fork begins, and a live run makes it itself");
                continue;
            }
            let key = (call.path.to_owned(), call.call.id.clone());
            let resolved = result.resolved(call, !stands && call.asked <= upto)?;
            if given.results.insert(key, resolved).is_some() {
                refuse("its result is given twice");
            }
        }
        if errors.is_empty() { Ok(given) } else { Err(Error::Invalid(errors)) }
    }
}

impl ToolResult {
    fn resolved(&self, call: &Wanted<'_>, is_new: bool) -> std::result::Result<Result, Error> {
        let said = Message::Tool {
            tool_call_id: call.call.id.clone(),
            tool_name: call.call.name.clone(),
            content: self.content.clone(),
            error: self.error,
        };
        let body = serde_json::to_vec(&said).map_err(anyhow::Error::from)?;
        Ok(Result {
            message: ContentRef::of(&body),
            body,
            tool_name: call.call.name.clone(),
            error: self.error,
            is_new,
        })
    }
}
