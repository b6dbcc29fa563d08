//! What a trigger may say about how fast it fires and what is fired together.

use serde::{Deserialize, Serialize};
use servicekit::FieldError;
use utoipa::ToSchema;

use crate::{filter::Filter, options::Rate};

const MOST_AT_ONCE: u32 = 1000;
const MOST_TOGETHER: u32 = 100;
const LONGEST: u32 = 60 * 60;

/// How fast a trigger fires. What may not fire yet is `queued` and fires in the order in which it came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({ "key": "payload.customer", "concurrency": 1, "rate": { "limit": 30, "per_seconds": 60 } }))]
pub(crate) struct Flow {
    /// A CEL expression over `payload`, `headers` and `system`: deliveries with the same value count, wait and go together.
    /// Without it all of the trigger's do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// So many runs at once, for each key: 1 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// So many runs in a time, over all keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Fire only when so many seconds have passed since the last delivery of the key, and only that one: 1 to 3600. The
    /// others are `merged` into it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debounce_seconds: Option<u32>,
    /// Fire deliveries of a key together, as a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
}

/// When a batch is complete: whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Batch {
    /// So many deliveries: 2 to 100.
    pub max: u32,
    /// So many seconds after its first delivery: 1 to 3600.
    pub seconds: u32,
}

impl Flow {
    /// Names every field that makes no sense.
    pub(crate) fn errors(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut refuse = |field: &str, why: String| {
            errors.push(FieldError::new(format!("/flow{field}"), why));
        };
        if let Some(Err(why)) = self.key.as_deref().map(Filter::compile) {
            refuse("/key", why);
        }
        let mut within = |field: &str, value: Option<u32>, low: u32, high: u32| {
            if value.is_some_and(|value| !(low..=high).contains(&value)) {
                refuse(field, format!("must be between {low} and {high}"));
            }
        };
        within("/concurrency", self.concurrency, 1, MOST_AT_ONCE);
        within("/debounce_seconds", self.debounce_seconds, 1, LONGEST);
        within("/batch/max", self.batch.map(|batch| batch.max), 2, MOST_TOGETHER);
        within("/batch/seconds", self.batch.map(|batch| batch.seconds), 1, LONGEST);
        if let Some((field, why)) = self.rate.and_then(Rate::problem) {
            refuse(&format!("/rate/{field}"), why.into());
        }
        let limits = [
            self.concurrency.is_some(),
            self.rate.is_some(),
            self.debounce_seconds.is_some(),
            self.batch.is_some(),
        ];
        if !limits.contains(&true) {
            refuse("", "say at least one of concurrency, rate, debounce_seconds, batch".into());
        }
        if self.debounce_seconds.is_some() && self.batch.is_some() {
            refuse("/batch", "say debounce_seconds or batch, not both".into());
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_field_that_makes_no_sense_is_named() {
        let table: [(Value, &[&str]); 6] = [
            (json!({ "concurrency": 1 }), &[]),
            (json!({}), &["/flow"]),
            (json!({ "key": "payload.", "concurrency": 0 }), &["/flow/key", "/flow/concurrency"]),
            (
                json!({ "batch": { "max": 1, "seconds": 0 } }),
                &["/flow/batch/max", "/flow/batch/seconds"],
            ),
            (json!({ "rate": { "limit": 1, "per_seconds": 0 } }), &["/flow/rate/per_seconds"]),
            (
                json!({ "debounce_seconds": 5, "batch": { "max": 2, "seconds": 1 } }),
                &["/flow/batch"],
            ),
        ];
        for (value, expected) in table {
            let flow: Flow = serde_json::from_value(value.clone()).unwrap();
            let found: Vec<String> = flow.errors().into_iter().map(|error| error.pointer).collect();
            assert_eq!(found, expected, "{value}");
        }
    }
}
