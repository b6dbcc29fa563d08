//! What people write down about an agent, and what of it is refused.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use servicekit::FieldError;
use shared_models::{AgentScope, AgentStatus, AgentType, CredentialId, TeamId};
use utoipa::ToSchema;

use crate::approvals::{self, Rule};
use crate::hooks::{self, Hook};
use crate::models;
use crate::template;

/// An agent as it can be edited. A patch is merged into this form and read back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentFields {
    /// Unique in the tenant.
    #[schema(min_length = 1, max_length = 100)]
    pub(crate) name: String,
    #[serde(default)]
    #[schema(max_length = 4096)]
    pub(crate) description: String,
    /// `provider:model`; without a colon the provider is `openai`.
    #[serde(default = "default_model")]
    pub(crate) model: String,
    /// Asked when the model cannot be reached.
    #[serde(default)]
    pub(crate) fallback_model: Option<String>,
    /// A credential with the field `api_key`, and perhaps `base_url`, for the model's provider.
    #[serde(default)]
    pub(crate) model_credential_id: Option<CredentialId>,
    /// The system prompt. `{{ date }}`, `{{ now }}`, `{{ agent.name }}`, `{{ run_id }}`, `{{ input }}`,
    /// `{{ conversation_id }}`, `{{ end_user_id }}` and `{{ variables.<name> }}` are filled in once, when a run starts;
    /// `{{ variables.tone | default("friendly") }}` may be left out, `\{{` is `{{`.
    #[serde(default)]
    pub(crate) instructions: String,
    /// Whether the persona below is in force.
    #[serde(default)]
    pub(crate) use_custom_persona: bool,
    /// Who the agent is: said before its instructions.
    #[serde(default)]
    #[schema(max_length = 65536)]
    pub(crate) custom_persona_prompt: Option<String>,
    /// A JSON Schema that the answer must fit.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub(crate) output_schema: Option<Value>,
    /// Round trips between model and tools.
    #[serde(default = "default_max_steps")]
    #[schema(minimum = 1, maximum = 1000)]
    pub(crate) max_steps: u32,
    #[serde(default = "default_temperature")]
    #[schema(minimum = 0, maximum = 2)]
    pub(crate) temperature: f64,
    /// The most tokens of one reply.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub(crate) max_tokens: Option<u32>,
    #[serde(default = "default_scope")]
    pub(crate) scope: AgentScope,
    /// For the scope `team`; your first team unless you say which.
    #[serde(default)]
    pub(crate) team_id: Option<TeamId>,
    #[serde(default = "default_type")]
    pub(crate) agent_type: AgentType,
    /// Only active agents run.
    #[serde(default = "default_status")]
    pub(crate) status: AgentStatus,
    #[serde(default)]
    #[schema(max_items = 32)]
    pub(crate) tags: Vec<String>,
    /// Told, or asked, at points of its runs, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 16)]
    pub(crate) hooks: Vec<Hook>,
    /// When people are asked before a tool is called, besides what the tools themselves say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 16)]
    pub(crate) approvals: Vec<Rule>,
    #[serde(default)]
    pub(crate) limits: Limits,
    #[serde(default)]
    pub(crate) budget: Budget,
}

/// How much one agent may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    /// Runs under way at once; more wait in the queue.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub(crate) max_concurrent_runs: Option<i32>,
    /// How long a run may take.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub(crate) deadline_seconds: Option<u32>,
}

/// What one run may use up, with all that work for it. A run that meets a limit waits (`budget`) until it is raised.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_field_names, reason = "limits are named as such on the wire")]
pub(crate) struct Budget {
    /// Money, over all model calls.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub(crate) max_cost_micro_usd: Option<i64>,
    /// Tokens, in and out.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub(crate) max_tokens: Option<i64>,
    #[serde(default)]
    #[schema(minimum = 1)]
    pub(crate) max_tool_calls: Option<i64>,
    /// Time at work, without what it waits.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub(crate) max_active_seconds: Option<i64>,
}

impl Budget {
    /// What cannot be; a budget that stands for itself must limit something.
    pub(crate) fn check_limits(&self, pointer: &str) -> Vec<FieldError> {
        let mut errors = self.check(pointer);
        if *self == Self::default() {
            errors.push(FieldError::new(pointer, "say at least one limit"));
        }
        errors
    }

    pub(crate) fn check(&self, pointer: &str) -> Vec<FieldError> {
        const MOST: i64 = 1_000_000_000_000_000;
        let fields = [
            ("max_cost_micro_usd", self.max_cost_micro_usd),
            ("max_tokens", self.max_tokens),
            ("max_tool_calls", self.max_tool_calls),
            ("max_active_seconds", self.max_active_seconds),
        ];
        let wrong = |most: Option<i64>| most.is_some_and(|n| !(1..=MOST).contains(&n));
        let wrong = fields.into_iter().filter(|(_, most)| wrong(*most));
        wrong
            .map(|(name, _)| FieldError::new(format!("{pointer}/{name}"), "from 1 to 10^15"))
            .collect()
    }
}

impl AgentFields {
    const LONGEST_PERSONA: usize = 64 * 1024;
    const LONGEST_SCHEMA: usize = 64 * 1024;
    pub(crate) const LONGEST_INSTRUCTIONS: usize = 256 * 1024;

    /// What the model is told first: the persona in force, then the instructions.
    pub(crate) fn prompt(&self) -> String {
        match self.custom_persona_prompt.as_deref().filter(|_| self.use_custom_persona) {
            Some(persona) if self.instructions.is_empty() => persona.to_owned(),
            Some(persona) => format!("{persona}\n\n{}", self.instructions),
            None => self.instructions.clone(),
        }
    }

    /// Lists every field that cannot be so. `own` are the models that the tenant has entries for.
    pub(crate) fn check(&self, own: &[String]) -> Result<(), Vec<FieldError>> {
        let mut errors = unstorable(&serde_json::to_value(self).unwrap_or_default(), "");
        let mut refuse = |wrong: bool, pointer: &str, message: &str| {
            if wrong {
                errors.push(FieldError::new(pointer, message));
            }
        };
        refuse(
            !is_name(&self.name),
            "/name",
            "1 to 100 characters, none of them control characters",
        );
        refuse(self.description.len() > 4096, "/description", "at most 4096 bytes");
        refuse(
            self.instructions.len() > Self::LONGEST_INSTRUCTIONS,
            "/instructions",
            "at most 256 KiB",
        );
        let persona = self.custom_persona_prompt.as_deref().unwrap_or_default();
        for (pointer, text) in
            [("/instructions", self.instructions.as_str()), ("/custom_persona_prompt", persona)]
        {
            if let Some(why) = template::check(text) {
                refuse(true, pointer, &why);
            }
        }
        refuse(persona.len() > Self::LONGEST_PERSONA, "/custom_persona_prompt", "at most 64 KiB");
        refuse(
            self.use_custom_persona && persona.trim().is_empty(),
            "/custom_persona_prompt",
            "needed while `use_custom_persona` is set",
        );
        refuse(!(1..=1000).contains(&self.max_steps), "/max_steps", "from 1 to 1000");
        refuse(!(0.0..=2.0).contains(&self.temperature), "/temperature", "from 0 to 2");
        refuse(self.max_tokens == Some(0), "/max_tokens", "at least 1");
        refuse(
            self.scope == AgentScope::User && self.team_id.is_some(),
            "/team_id",
            "only for the scope `team`",
        );
        refuse(self.tags.len() > 32, "/tags", "at most 32");
        for (index, tag) in self.tags.iter().enumerate() {
            let wrong = tag.is_empty() || tag.chars().count() > 64;
            refuse(wrong, &format!("/tags/{index}"), "1 to 64 characters");
        }
        let runs = self.limits.max_concurrent_runs;
        refuse(runs.is_some_and(|n| n < 1), "/limits/max_concurrent_runs", "at least 1");
        let seconds = self.limits.deadline_seconds;
        let month = 31 * 24 * 3600;
        let wrong = seconds.is_some_and(|n| !(1..=month).contains(&n));
        refuse(wrong, "/limits/deadline_seconds", "from 1 second to 31 days");
        errors.extend(self.budget.check("/budget"));
        errors.extend(hooks::check(&self.hooks));
        errors.extend(approvals::check(&self.approvals));
        if let Some(why) = self.output_schema.as_ref().and_then(not_a_schema) {
            errors.push(FieldError::new("/output_schema", why));
        }
        let models =
            [("/model", Some(&self.model)), ("/fallback_model", self.fallback_model.as_ref())];
        for (pointer, model) in models {
            if let Some(Err(why)) = model.map(|model| models::check(model, own)) {
                errors.push(FieldError::new(pointer, why));
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

/// Why this is no schema for answers.
fn not_a_schema(schema: &Value) -> Option<String> {
    if !schema.is_object() {
        return Some("a JSON Schema is an object".into());
    }
    if schema.to_string().len() > AgentFields::LONGEST_SCHEMA {
        return Some("at most 64 KiB".into());
    }
    jsonschema::validator_for(schema).err().map(|error| format!("not a JSON Schema: {error}"))
}

/// Texts that Postgres cannot hold: jsonb has no NUL.
pub(crate) fn unstorable(value: &Value, pointer: &str) -> Vec<FieldError> {
    let nul = |text: &str| text.contains('\0');
    match value {
        Value::String(text) if nul(text) => {
            vec![FieldError::new(pointer, "the character U+0000 is not allowed")]
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items
                .flat_map(|(index, item)| unstorable(item, &format!("{pointer}/{index}")))
                .collect()
        }
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(key, field)| {
                let inside = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                if nul(key) {
                    vec![FieldError::new(pointer, "a name has the character U+0000")]
                } else {
                    unstorable(field, &inside)
                }
            })
            .collect(),
        _ => Vec::new(),
    }
}

pub(crate) fn is_name(name: &str) -> bool {
    !name.trim().is_empty() && name.chars().count() <= 100 && !name.chars().any(char::is_control)
}

/// What an agent asks of which nobody has said anything.
pub(crate) fn default_model() -> String {
    "openai:gpt-4o".into()
}

fn default_max_steps() -> u32 {
    10
}

fn default_temperature() -> f64 {
    1.0
}

fn default_scope() -> AgentScope {
    AgentScope::User
}

fn default_type() -> AgentType {
    AgentType::Custom
}

fn default_status() -> AgentStatus {
    AgentStatus::Active
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(change: &Value) -> AgentFields {
        let mut document = json!({ "name": "triage" });
        json_patch::merge(&mut document, change);
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn a_name_is_all_an_agent_needs() {
        let agent = fields(&json!({}));

        assert_eq!(agent.check(&[]), Ok(()));
        assert_eq!(agent.model, "openai:gpt-4o");
        assert_eq!((agent.max_steps, agent.scope), (10, AgentScope::User));
    }

    #[test]
    fn every_wrong_field_is_listed() {
        let agent = fields(&json!({
            "name": " ", "model": "martian:x", "fallback_model": "openai:", "max_steps": 0,
            "temperature": 2.5, "max_tokens": 0, "team_id": TeamId::mint(), "tags": ["", "ok"],
            "instructions": "a\u{0}b",
            "use_custom_persona": true, "output_schema": { "type": "wrong" },
            "budget": { "max_tokens": 0 },
            "limits": { "max_concurrent_runs": 0, "deadline_seconds": 0 } }));

        let pointers: Vec<String> =
            agent.check(&[]).unwrap_err().into_iter().map(|e| e.pointer).collect();

        assert_eq!(
            pointers,
            [
                "/instructions",
                "/name",
                "/custom_persona_prompt",
                "/max_steps",
                "/temperature",
                "/max_tokens",
                "/team_id",
                "/tags/0",
                "/limits/max_concurrent_runs",
                "/limits/deadline_seconds",
                "/budget/max_tokens",
                "/output_schema",
                "/model",
                "/fallback_model",
            ]
        );
    }
}
