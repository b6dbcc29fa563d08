//! What an agent's owner wants to see, or to stop, at seven points of its runs: an HTTP endpoint is told, or a rule decides.
//! When and in what order is in `drive::hooks`.

pub(crate) mod rule;

use serde::{Deserialize, Serialize};
use servicekit::FieldError;
use shared_models::HookPoint;
use url::Url;
use utoipa::ToSchema;

/// One hook. Hooks are called one after the other, in this order; one that fails, says no or takes too long stops the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hook {
    pub(crate) point: HookPoint,
    /// What it is called in errors; its place in the list unless said.
    #[serde(default)]
    #[schema(max_length = 100)]
    pub(crate) name: Option<String>,
    /// Is told by POST what happens. It stops the run by any status but 2xx, or by the answer
    /// `{"allow": false, "reason": "..."}`.
    #[serde(default)]
    #[schema(max_length = 2048, example = "https://hooks.example.com/agent")]
    pub(crate) url: Option<String>,
    /// A CEL expression that must be true, over `agent`, `run`, and what the point brings: `messages`; `response`;
    /// `tool_name` and `arguments`, or `result`; `error`.
    #[serde(default)]
    #[schema(max_length = 2048, example = "tool_name != 'refund' || arguments.amount <= 100")]
    pub(crate) rule: Option<String>,
    /// Why the rule stops the run.
    #[serde(default)]
    #[schema(max_length = 500)]
    pub(crate) message: Option<String>,
    #[serde(default = "five_seconds")]
    #[schema(minimum = 100, maximum = 30_000)]
    pub(crate) timeout_ms: u32,
}

const MOST_HOOKS: usize = 16;

fn five_seconds() -> u32 {
    5_000
}

/// Lists everything that cannot be so.
pub(crate) fn check(hooks: &[Hook]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if hooks.len() > MOST_HOOKS {
        errors.push(FieldError::new("/hooks", format!("at most {MOST_HOOKS}")));
    }
    for (place, hook) in hooks.iter().enumerate() {
        let wrong = hook.wrong_fields().into_iter();
        errors.extend(wrong.map(|(at, why)| FieldError::new(format!("/hooks/{place}{at}"), why)));
    }
    errors
}

impl Hook {
    /// What it is called.
    pub(crate) fn title(&self, place: usize) -> String {
        self.name.clone().unwrap_or_else(|| format!("hook {}", place + 1))
    }

    fn wrong_fields(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        let unfit = |text: &Option<String>, most: usize| {
            text.as_ref().is_some_and(|text| text.is_empty() || text.len() > most)
        };
        if unfit(&self.name, 100) {
            wrong.push(("/name", "1 to 100 bytes".into()));
        }
        if unfit(&self.message, 500) || (self.message.is_some() && self.rule.is_none()) {
            wrong.push(("/message", "1 to 500 bytes, with a rule".into()));
        }
        if !(100..=30_000).contains(&self.timeout_ms) {
            wrong.push(("/timeout_ms", "from 100 to 30000".into()));
        }
        match (&self.url, &self.rule) {
            (Some(url), None) => wrong.extend(wrong_url(url).map(|why| ("/url", why.into()))),
            (None, Some(source)) => {
                wrong.extend(rule::compile(source).err().map(|why| ("/rule", why)));
            }
            _ => wrong.push(("", "either a `url` or a `rule`".into())),
        }
        wrong
    }
}

fn wrong_url(url: &str) -> Option<&'static str> {
    let parsed: Option<Url> = url.parse().ok();
    let fine = parsed.is_some_and(|url| {
        let named = !url.username().is_empty() || url.password().is_some();
        matches!(url.scheme(), "http" | "https") && url.has_host() && !named
    });
    let why = "an http or https URL without a name and password, at most 2048 bytes";
    (!fine || url.len() > 2048).then_some(why)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pointers(hook: Value) -> Vec<String> {
        let hook: Hook = serde_json::from_value(hook).unwrap();
        check(&[hook]).into_iter().map(|error| error.pointer).collect()
    }

    #[test]
    fn a_hook_is_an_endpoint_or_a_rule_that_can_be_read() {
        let rule = "tool_name != 'refund' || arguments.amount <= 100";
        let guard = json!({ "point": "pre_tool_call", "rule": rule, "message": "too much" });
        assert_eq!(pointers(guard), Vec::<String>::new());
        let told = json!({ "point": "start", "url": "https://example.com/hook" });
        assert_eq!(pointers(told), Vec::<String>::new());
        for (hook, pointer) in [
            (json!({ "point": "start" }), "/hooks/0"),
            (json!({ "point": "start", "url": "https://a.b", "rule": "true" }), "/hooks/0"),
            (json!({ "point": "start", "url": "ftp://a.b" }), "/hooks/0/url"),
            (json!({ "point": "start", "url": "https://u:p@a.b" }), "/hooks/0/url"),
            (json!({ "point": "start", "rule": "1 +" }), "/hooks/0/rule"),
            (json!({ "point": "start", "rule": "secret == 1" }), "/hooks/0/rule"),
            (json!({ "point": "start", "url": "https://a.b", "message": "x" }), "/hooks/0/message"),
            (json!({ "point": "start", "rule": "true", "timeout_ms": 1 }), "/hooks/0/timeout_ms"),
            (json!({ "point": "start", "rule": "true", "name": "" }), "/hooks/0/name"),
        ] {
            assert_eq!(pointers(hook.clone()), [pointer], "{hook}");
        }
    }
}
