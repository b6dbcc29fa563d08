//! What is different in a fork, as people say it.

use agentcore::artifacts::LONGEST_RESULT;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use servicekit::FieldError;
use utoipa::ToSchema;

use crate::call_key;
use crate::definition::{AgentFields, unstorable};
use crate::error::Error;
use crate::template;

/// Where another run goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// Behind this record.
    Seq(i64),
    /// Before the model is asked for this reply, counted from 1: that of the member at the path, if one is said.
    Step { path: Option<String>, step: u32 },
}

/// What is different. Nothing of it need be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edits {
    /// What the run is said to have been told: a text, a list of content blocks, or any other JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) input: Option<Value>,
    /// The agent's instructions; `prompt` is the same. A template, as with an agent. Of a swarm's run say whose, in `members`.
    #[serde(default, alias = "prompt", skip_serializing_if = "Option::is_none")]
    pub(crate) instructions: Option<String>,
    /// The agent's model. Of a swarm's run say whose, in `members`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    /// The agent as it is in this version, with the tools that it has now. Of a swarm's run say whose, in `members`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) agent_version: Option<i32>,
    /// The swarm as it is in this version, with its agents as they are now. What stands of the run must be a way that it
    /// could have come, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) swarm_version: Option<i32>,
    /// What is different of members of a swarm, each of an agent that you may see.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 64)]
    pub(crate) members: Vec<MemberEdits>,
    /// What tools are said to have answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub(crate) tool_results: Vec<ToolResult>,
}

/// What is different of one member of a swarm, each time that it works.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemberEdits {
    /// Which member: its path, as the run's tree shows it.
    pub(crate) path: Vec<String>,
    /// In place of all that its agent is told, by the swarm too; `prompt` is the same. A template, as with an agent.
    #[serde(default, alias = "prompt", skip_serializing_if = "Option::is_none")]
    instructions: Option<String>,
    /// Its agent's model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// Its agent as it is in this version, with the tools that it has now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) agent_version: Option<i32>,
}

/// What is different of one agent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AgentEdits<'a> {
    pub(super) instructions: Option<&'a String>,
    pub(super) model: Option<&'a String>,
    pub(super) version: Option<i32>,
}

/// What a tool is said to have answered to a call of the other run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToolResult {
    /// Which call, as the other run's journal has it.
    pub(super) call_id: String,
    /// Whose call, in a run of a swarm; not needed when only one of its members has made a call with this `call_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<Vec<String>>,
    /// At most 64 KiB.
    pub(super) content: String,
    /// It failed, and the content says why.
    #[serde(default)]
    pub(super) error: bool,
}

const MOST_MEMBERS: usize = 64;
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
        refuse(self.members.len() > MOST_MEMBERS, "members", "at most 64");
        refuse(self.tool_results.len() > MOST_RESULTS, "tool_results", "at most 100");
        for (place, result) in self.tool_results.iter().enumerate() {
            let long = result.content.len() > LONGEST_RESULT;
            refuse(long, &format!("tool_results/{place}/content"), "at most 64 KiB");
        }
        errors.extend(self.agent().check("/edits"));
        for (place, member) in self.members.iter().enumerate() {
            errors.extend(member.agent().check(&format!("/edits/members/{place}")));
        }
        errors
    }

    /// Refuses what cannot be so of a run of this kind.
    pub(super) fn fit(&self, is_swarms: bool) -> Result<(), Error> {
        let mut errors = Vec::new();
        let mut refuse = |field: &str, why: &str| {
            errors.push(FieldError::new(format!("/edits/{field}"), why));
        };
        if is_swarms {
            let why = "the run is a swarm's: say whose, in `members`";
            self.agent().names().for_each(|field| refuse(field, why));
        } else {
            let why = "the run is an agent's, and not a swarm's";
            let said = [
                ("swarm_version", self.swarm_version.is_some()),
                ("members", !self.members.is_empty()),
            ];
            said.iter().filter(|(_, said)| *said).for_each(|(field, _)| refuse(field, why));
        }
        if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
    }

    /// What is different of the run's agent.
    pub(super) fn agent(&self) -> AgentEdits<'_> {
        let (instructions, model) = (self.instructions.as_ref(), self.model.as_ref());
        AgentEdits { instructions, model, version: self.agent_version }
    }

    /// What is different, by name.
    pub(super) fn names(&self) -> Vec<String> {
        let said =
            [("input", self.input.is_some()), ("swarm_version", self.swarm_version.is_some())];
        let said = said.into_iter().filter(|(_, said)| *said).map(|(name, _)| name.to_owned());
        let members = self.members.iter().flat_map(|member| {
            let path = call_key::path_of(&member.path);
            member.agent().names().map(move |name| format!("members/{path}/{name}"))
        });
        let results = self.tool_results.iter().map(|one| {
            let path = one.path.as_deref().map(call_key::path_of);
            let path = path.map(|path| format!("{path}/")).unwrap_or_default();
            format!("tool_results/{path}{}", one.call_id)
        });
        said.chain(self.agent().names().map(str::to_owned)).chain(members).chain(results).collect()
    }
}

impl MemberEdits {
    pub(super) fn agent(&self) -> AgentEdits<'_> {
        let (instructions, model) = (self.instructions.as_ref(), self.model.as_ref());
        AgentEdits { instructions, model, version: self.agent_version }
    }
}

impl AgentEdits<'_> {
    fn names(self) -> impl Iterator<Item = &'static str> {
        let said = [
            ("instructions", self.instructions.is_some()),
            ("model", self.model.is_some()),
            ("agent_version", self.version.is_some()),
        ];
        said.into_iter().filter(|(_, said)| *said).map(|(name, _)| name)
    }

    fn check(self, at: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut refuse = |wrong: bool, field: &str, why: &str| {
            if wrong {
                errors.push(FieldError::new(format!("{at}/{field}"), why));
            }
        };
        let instructions = self.instructions.map(String::as_str).unwrap_or_default();
        let long = instructions.len() > AgentFields::LONGEST_INSTRUCTIONS;
        refuse(long, "instructions", "at most 256 KiB");
        if let Some(why) = template::check(instructions) {
            refuse(true, "instructions", &why);
        }
        refuse(self.model.is_some_and(String::is_empty), "model", "must not be empty");
        for (field, text) in [("instructions", self.instructions), ("model", self.model)] {
            let text = text.cloned().map_or(Value::Null, Value::String);
            errors.extend(unstorable(&text, &format!("{at}/{field}")));
        }
        errors
    }
}
