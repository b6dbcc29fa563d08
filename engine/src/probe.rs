//! Finding out by a tool that only reads whether a call has happened of which nobody knows.
//!
//! A probe is declared at the tool whose calls may be in doubt. It is asked before people are; what it answers counts only when
//! it says one thing clearly.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use serde_json_path::JsonPath;
use servicekit::FieldError;
use shared_models::ToolId;
use utoipa::ToSchema;

use crate::hooks::rule;
use crate::record::Record;

/// What the expressions may name.
const NAMES: &[&str] = &["output", "args"];
/// How long an expression may take.
const PATIENCE: Duration = Duration::from_secs(5);
const MOST_ARGUMENTS: usize = 64;

/// How it is found out whether a call has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Probe {
    /// A tool that only reads. An agent whose calls are to be probed must have it, too: it is called as the agent has it.
    pub(crate) tool_id: ToolId,
    /// The probe's arguments by name. Each is a JSONPath (RFC 9535) into `{args, call_id, idempotency_key, run_id}` of the
    /// call in doubt; what is not there is left out.
    #[serde(default)]
    #[schema(example = json!({ "order": "$.args.order" }))]
    pub(crate) arguments: BTreeMap<String, String>,
    /// A CEL expression over `output`, which is the probe's answer, read as JSON when it is JSON, and `args`, those of the call in
    /// doubt: it has happened.
    #[schema(max_length = 2048, example = "output.status == 'refunded'")]
    pub(crate) happened: String,
    /// The same: it has not happened. People are asked unless exactly one of the two is true.
    #[schema(max_length = 2048, example = "output.status == 'open'")]
    pub(crate) did_not_happen: String,
    /// How often the probe is called at most before people are asked, when it fails.
    #[serde(default = "three")]
    #[schema(minimum = 1, maximum = 10)]
    pub(crate) attempts: u32,
    /// For how long a call of which nobody knows may still take effect, counted from the doubt; the tool's own time limit
    /// unless said. Before that only `happened` settles the doubt: what has not happened is looked at again then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 86_400)]
    pub(crate) settle_seconds: Option<u32>,
}

const MOST_SETTLE_SECONDS: u32 = 86_400;

fn three() -> u32 {
    3
}

impl Probe {
    /// Everything that cannot be so.
    pub(crate) fn check(&self, pointer: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut refuse =
            |at: &str, why: String| errors.push(FieldError::new(format!("{pointer}{at}"), why));
        for (at, source) in
            [("/happened", &self.happened), ("/did_not_happen", &self.did_not_happen)]
        {
            if let Err(why) = rule::compile_over(source, NAMES) {
                refuse(at, why);
            }
        }
        if !(1..=10).contains(&self.attempts) {
            refuse("/attempts", "from 1 to 10".into());
        }
        if self.settle_seconds.is_some_and(|seconds| seconds > MOST_SETTLE_SECONDS) {
            refuse("/settle_seconds", "at most 86400, a day".into());
        }
        if self.arguments.len() > MOST_ARGUMENTS {
            refuse("/arguments", "at most 64".into());
        }
        for (name, path) in &self.arguments {
            if let Err(error) = JsonPath::parse(path) {
                let name = name.replace('~', "~0").replace('/', "~1");
                refuse(&format!("/arguments/{name}"), error.to_string());
            }
        }
        errors
    }

    /// How long after the doubt a call that has not happened counts as one that will not, if the tool takes so long at most.
    pub(crate) fn settles_after(&self, timeout: Duration) -> Duration {
        self.settle_seconds.map_or(timeout, |seconds| Duration::from_secs(seconds.into()))
    }

    /// What the probe is asked about a call.
    pub(crate) fn arguments(&self, call: &Value) -> Value {
        let found = self.arguments.iter().filter_map(|(name, path)| {
            let path = JsonPath::parse(path).ok()?;
            let value = path.query(call).first()?.clone();
            Some((name.clone(), value))
        });
        Value::Object(found.collect())
    }

    /// Whether the call has happened, by what the probe has answered; or why that does not tell.
    pub(crate) async fn judge(&self, answer: &str, args: &Value) -> Result<bool, String> {
        let output = serde_json::from_str(answer).unwrap_or_else(|_| answer.into());
        let seen: Map<String, Value> =
            [("output".to_owned(), output), ("args".to_owned(), args.clone())]
                .into_iter()
                .collect();
        let happened = rule::holds_over(&self.happened, NAMES, seen.clone(), PATIENCE).await;
        let did_not = rule::holds_over(&self.did_not_happen, NAMES, seen, PATIENCE).await;
        match (happened, did_not) {
            (Ok(true), Ok(false)) => Ok(true),
            (Ok(false), Ok(true)) => Ok(false),
            (Ok(true), Ok(true)) => Err("its answer says both".into()),
            (Ok(false), Ok(false)) => Err("its answer says neither".into()),
            (Err(why), _) | (_, Err(why)) => Err(format!("its answer cannot be read: {why}")),
        }
    }
}

/// Which calls in doubt a probe is to be asked about, and how often it was: as the records say.
pub(crate) fn note(probing: &mut BTreeMap<String, u32>, record: &Record) {
    match record {
        Record::ToolInDoubt { call_id, probe: true, .. } | Record::ProbeWanted { call_id, .. } => {
            probing.insert(call_id.clone(), 0);
        }
        Record::ProbeAsked { call_id, attempt, .. } => {
            probing.insert(call_id.clone(), *attempt);
        }
        Record::ProbeTooEarly { call_id, .. }
        | Record::ProbeSilent { call_id, .. }
        | Record::ToolAnswered { call_id, .. } => {
            probing.remove(call_id);
        }
        _ => {}
    }
}

/// When probes are asked again that were asked too early.
pub(crate) fn note_early(early: &mut BTreeMap<String, DateTime<Utc>>, record: &Record) {
    match record {
        Record::ProbeTooEarly { call_id, until } => {
            early.insert(call_id.clone(), *until);
        }
        Record::ProbeWanted { call_id, .. }
        | Record::ProbeAsked { call_id, .. }
        | Record::ProbeSilent { call_id, .. } => {
            early.remove(call_id);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn probe() -> Probe {
        serde_json::from_value(json!({
            "tool_id": ToolId::mint(),
            "arguments": { "order": "$.args.order", "key": "$.idempotency_key", "none": "$.args.none" },
            "happened": "output.status == 'done' && output.order == args.order",
            "did_not_happen": "output.status == 'open'",
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn only_an_answer_that_says_one_thing_clearly_counts() {
        let args = json!({ "order": 7 });
        let table = [
            (json!({ "status": "done", "order": 7 }).to_string(), Some(true)),
            (json!({ "status": "open", "order": 7 }).to_string(), Some(false)),
            (json!({ "status": "done", "order": 8 }).to_string(), None),
            (json!({ "status": "else" }).to_string(), None),
            (json!({ "state": "done" }).to_string(), None),
            (json!([1]).to_string(), None),
            ("done".to_owned(), None),
            (String::new(), None),
        ];
        for (answer, verdict) in table {
            assert_eq!(probe().judge(&answer, &args).await.ok(), verdict, "{answer}");
        }
        let both = Probe { did_not_happen: "true".into(), happened: "true".into(), ..probe() };
        assert_eq!(both.judge("{}", &args).await, Err("its answer says both".into()));
    }

    #[test]
    fn a_call_has_the_tools_own_time_to_take_effect_unless_the_probe_says_otherwise() {
        let timeout = Duration::from_millis(30_500);

        assert_eq!(probe().settles_after(timeout), timeout);
        let said = Probe { settle_seconds: Some(7), ..probe() };
        assert_eq!(said.settles_after(timeout), Duration::from_secs(7));
    }

    #[test]
    fn the_probe_is_asked_with_what_its_paths_name() {
        let call = json!({ "args": { "order": 7 }, "idempotency_key": "k" });
        assert_eq!(probe().arguments(&call), json!({ "order": 7, "key": "k" }));
    }

    #[test]
    fn what_cannot_be_a_probe_is_refused_with_its_place() {
        assert_eq!(probe().check("/probe").len(), 0);
        let wrong = Probe {
            happened: "outcome == 1".into(),
            did_not_happen: "(".into(),
            attempts: 11,
            settle_seconds: Some(86_401),
            arguments: [("a/b".to_owned(), "order".to_owned())].into(),
            ..probe()
        };
        let errors = wrong.check("/probe");
        let pointers: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
        let expected = [
            "/probe/happened",
            "/probe/did_not_happen",
            "/probe/attempts",
            "/probe/settle_seconds",
            "/probe/arguments/a~1b",
        ];
        assert_eq!(pointers, expected);
    }
}
