//! What a decision is bound to: a hash of everything that would be executed. Whatever differs is another call, and nobody has
//! approved of that.

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value, json};
use sha2::{Digest as _, Sha256};
use shared_models::{AgentId, CredentialId, Effect, RunId, ToolId};

use crate::snapshot::{RunSnapshot, SnapshotTool};
use crate::tools::ToolConfig;

/// A call without its arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Subject {
    run: RunId,
    /// Which call of the run; see [`crate::call_key`].
    call: String,
    agent: AgentId,
    agent_name: String,
    agent_version: i32,
    tool: ToolId,
    tool_version: i32,
    tool_name: String,
    effect: Effect,
    /// Whom it may reach.
    hosts: Vec<String>,
    credential: Option<CredentialId>,
    credential_hosts: Vec<String>,
    /// The SHA-256 of the tool's configuration with the agent's own merged in.
    config: String,
}

impl Subject {
    pub(crate) fn of(run: RunId, call: String, agent: &RunSnapshot, tool: &SnapshotTool) -> Self {
        let config = ToolConfig::read(tool.kind, &tool.config);
        Self {
            run,
            call,
            agent: agent.agent_id,
            agent_name: agent.agent_name.clone(),
            agent_version: agent.agent_version,
            tool: tool.tool_id,
            tool_version: tool.version,
            tool_name: tool.name.clone(),
            effect: tool.effect,
            hosts: config.map(|config| config.hosts()).unwrap_or_default(),
            credential: tool.credential_id,
            credential_hosts: tool.credential_hosts.clone(),
            config: hex::encode(hash(&tool.config)),
        }
    }

    /// What a repeat would do, as rules name it.
    pub(crate) fn effect(&self) -> &'static str {
        self.effect.as_str()
    }

    /// Whose call it is, as rules name them.
    pub(crate) fn agent_name(&self) -> &str {
        &self.agent_name
    }

    /// The hash of the call with these arguments.
    pub(crate) fn binding(&self, arguments: &Value) -> [u8; 32] {
        hash(&json!({ "subject": self, "arguments": arguments }))
    }

    /// The hash of what is the same for all calls of the tool in the run.
    pub(crate) fn scope(&self) -> [u8; 32] {
        hash(&json!({ "subject": Self { call: String::new(), ..self.clone() } }))
    }
}

/// The SHA-256 of a value's canonical form (RFC 8785). That form writes numbers as JavaScript has them, in which whole numbers
/// beyond 2^53 run together; those are hashed as they stand besides, so that no two different values have one hash.
fn hash(value: &Value) -> [u8; 32] {
    let mut large = Vec::new();
    let rounded = rounded(value, &mut large);
    // Nothing that serde_json holds lacks a canonical form; the plain one differs from every canonical one of another value.
    let canonical = serde_json_canonicalizer::to_vec(&rounded)
        .unwrap_or_else(|_| value.to_string().into_bytes());
    let mut digest = Sha256::new();
    digest.update((canonical.len() as u64).to_be_bytes());
    digest.update(canonical);
    digest.update(large.join(","));
    digest.finalize().into()
}

/// In the order of the canonical form, which is that of the names.
fn rounded(value: &Value, large: &mut Vec<String>) -> Value {
    const EXACT: u64 = 1 << 53;
    match value {
        Value::Number(number) => {
            let exact = number.as_i64().map(i64::unsigned_abs).or(number.as_u64());
            if exact.is_none_or(|exact| exact <= EXACT) {
                return value.clone();
            }
            large.push(number.to_string());
            number.as_f64().and_then(Number::from_f64).map_or(Value::Null, Value::Number)
        }
        Value::Array(items) => items.iter().map(|item| rounded(item, large)).collect(),
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort();
            let each = names.into_iter().filter_map(|name| Some((name.clone(), fields.get(name)?)));
            Value::Object(each.map(|(name, field)| (name, rounded(field, large))).collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_same_arguments_have_the_same_hash_however_they_are_written() {
        for (one, other) in [
            (r#"{"a":1,"b":[true,null]}"#, r#"{ "b" : [true, null], "a": 1 }"#),
            (r#"{"a":1.0}"#, r#"{"a":1}"#),
            (r#"{"a":1e2}"#, r#"{"a":100}"#),
            (r#"{"\u0061":"\u00e9"}"#, r#"{"a":"é"}"#),
        ] {
            assert_eq!(hash(&parse(one)), hash(&parse(other)), "{one} {other}");
        }
    }

    #[test]
    fn whole_numbers_that_javascript_cannot_tell_apart_are_told_apart() {
        for (one, other) in [
            ("9007199254740993", "9007199254740992"),
            ("18446744073709551615", "18446744073709551614"),
            (
                r#"{"a":9007199254740993,"b":9007199254740995}"#,
                r#"{"a":9007199254740995,"b":9007199254740993}"#,
            ),
            (r#"{"a":9007199254740993}"#, r#"{"a":"9007199254740993"}"#),
        ] {
            assert_ne!(hash(&parse(one)), hash(&parse(other)), "{one} {other}");
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-3i64..3).prop_map(Value::from),
            "[a-c\u{0}é,\"]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c]{1,2}", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn different_arguments_have_different_hashes(one in value(), other in value()) {
            prop_assert_eq!(one == other, hash(&one) == hash(&other));
        }
    }
}
