//! What people write down about a tool, and what of it is refused. One module per kind.

pub(crate) mod agent;
pub(crate) mod builtin;
pub(crate) mod config;
pub(crate) mod find;
pub(crate) mod http;
pub(crate) mod mcp;
pub(crate) mod openapi;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use servicekit::FieldError;
use shared_models::{Effect, ToolKind};
use utoipa::ToSchema;

pub(crate) use config::ToolConfig;

use crate::approvals::Rule;
use crate::definition::unstorable;
use crate::probe::Probe;

/// A tool as it can be edited. A patch is merged into this form and read back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToolFields {
    /// Unique in the tenant; what the model calls.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    pub(crate) name: String,
    /// Tells the model when to use it.
    #[serde(default)]
    #[schema(max_length = 4096)]
    pub(crate) description: String,
    pub(crate) kind: ToolKind,
    /// JSON Schema of the arguments. Given by the kind for `builtin` and `agent`.
    #[serde(default = "no_parameters")]
    #[schema(value_type = Object)]
    pub(crate) parameters: Value,
    /// What a repeat of a call would do. Unless said: GET and HEAD are `read`, PUT and DELETE `idempotent`, the rest
    /// `unsafe`. Only for `http`; the other kinds know what they do.
    #[serde(default)]
    pub(crate) effect: Option<Effect>,
    /// A call that takes longer is given up.
    #[serde(default = "half_a_minute")]
    #[schema(minimum = 100, maximum = 600_000)]
    pub(crate) timeout_ms: u32,
    /// When people are asked before a call is made: `{}` is always, by anybody who sees the run. Agents have rules of their
    /// own besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) approval: Option<Rule>,
    /// How it is found out whether a call has happened of which nobody knows. Only for `unsafe` and `keyed` tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) probe: Option<Probe>,
    #[schema(value_type = ToolConfig)]
    pub(crate) config: Value,
}

impl ToolFields {
    /// The same with every default spelled out; or every field that cannot be so.
    pub(crate) fn checked(mut self) -> Result<Self, Vec<FieldError>> {
        let mut errors = unstorable(&serde_json::to_value(&self).unwrap_or_default(), "");
        let config = match ToolConfig::read(self.kind, &self.config) {
            Ok(config) => config,
            Err(error) => {
                errors.push(error);
                return Err(errors);
            }
        };
        config.complete(&mut self);
        errors.extend(self.wrong_fields());
        errors.extend(config.check(&self.parameters));
        self.config = config.to_value();
        if errors.is_empty() { Ok(self) } else { Err(errors) }
    }

    fn wrong_fields(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut refuse = |wrong: bool, pointer: &str, message: &str| {
            if wrong {
                errors.push(FieldError::new(pointer, message));
            }
        };
        refuse(!is_tool_name(&self.name), "/name", "1 to 64 of A-Z, a-z, 0-9, `_` and `-`");
        refuse(self.description.len() > 4096, "/description", "at most 4096 bytes");
        refuse(!(100..=600_000).contains(&self.timeout_ms), "/timeout_ms", "from 100 to 600000");
        let object = self.parameters.get("type").is_some_and(|kind| kind == "object");
        refuse(!object, "/parameters", "a JSON Schema with the type `object`");
        if let Err(why) = agentcore::validate::check_schema(&self.parameters) {
            errors.push(FieldError::new("/parameters", why));
        }
        errors.extend(self.approval.iter().flat_map(|rule| rule.check("/approval")));
        errors.extend(self.probe.iter().flat_map(|probe| probe.check("/probe")));
        errors
    }

    /// What a repeat of a call would do: as declared, or by what the tool does.
    pub(crate) fn effect_in_force(&self) -> Effect {
        // What cannot be read does nothing; unsafe is the careful reading.
        ToolConfig::read(self.kind, &self.config)
            .map_or(Effect::Unsafe, |config| config.effect(self.effect))
    }
}

/// What every provider takes as the name of a tool.
pub(crate) fn is_tool_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (1..=64).contains(&name.len()) && name.chars().all(allowed)
}

pub(crate) fn no_parameters() -> Value {
    json!({ "type": "object", "properties": {} })
}

pub(crate) fn half_a_minute() -> u32 {
    30_000
}
