//! One turn of a script.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use shared_models::usage::Usage;

use crate::model::{ModelError, ModelErrorKind, ReplyFinish};

/// One reply of the simulated model. The first turn answers the user, the next one the tools it called, and so on; a
/// new message of the user begins the script again.
///
/// `{{input}}` stands for the last thing the user said and `{{last_tool_result}}` for what the last tool said, in the
/// text and in every string of the arguments.
///
/// ```
/// # use agentcore::models::sim::Turn;
/// # use serde_json::json;
/// let both = Turn::text("I look twice.").and_call("look", json!({ "for": "{{input}}" })).and_call("look", json!({}));
/// assert_eq!(both.tool_calls.len(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Turn {
    /// What it seems to think.
    pub reasoning: String,
    pub text: String,
    pub tool_calls: Vec<ScriptedCall>,
    /// How long the model thinks.
    pub delay_ms: u64,
    /// How long it takes over each word.
    pub pace_ms: u64,
    pub fail: Option<Fail>,
    /// The answer breaks off after so many words and calls.
    pub cut_after: Option<usize>,
    /// As the words are counted, when left out.
    pub usage: Option<Usage>,
    pub finish: Option<ReplyFinish>,
    /// On the last turn: it is said again and again, without end.
    pub repeat: bool,
}

/// A call that a scripted turn makes.
///
/// ```
/// use agentcore::models::sim::Turn;
///
/// let broken = Turn::default().and_raw_call("look", "{not json");
/// assert_eq!(broken.tool_calls[0].raw.as_deref(), Some("{not json"));
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedCall {
    pub name: String,
    #[serde(default)]
    pub arguments: Value,
    /// Takes the place of the arguments, and need not be JSON.
    #[serde(default)]
    pub raw: Option<String>,
}

/// Answers like a provider in trouble.
///
/// ```
/// use agentcore::models::sim::{Fail, Turn};
///
/// let busy_twice = Fail { status: Some(503), times: Some(2), ..Fail::default() };
/// let turn = Turn { fail: Some(busy_twice), ..Turn::text("at last") };
/// assert_eq!(turn.text, "at last");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fail {
    /// The HTTP status to fail with.
    pub status: Option<u16>,
    /// What kind of trouble, where the status does not say it.
    pub kind: Option<ModelErrorKind>,
    /// How often, before it answers; always, when left out.
    pub times: Option<u32>,
    /// In seconds.
    pub retry_after: Option<u64>,
}

impl Turn {
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    pub fn call(name: impl Into<String>, arguments: Value) -> Self {
        Self::default().and_call(name, arguments)
    }

    /// Instead of an answer.
    pub fn fail(kind: ModelErrorKind) -> Self {
        let fail = Fail { kind: Some(kind), ..Fail::default() };
        Self { fail: Some(fail), ..Self::default() }
    }

    #[must_use]
    pub fn and_call(mut self, name: impl Into<String>, arguments: Value) -> Self {
        self.tool_calls.push(ScriptedCall { name: name.into(), arguments, raw: None });
        self
    }

    /// A call with arguments that need not be JSON.
    #[must_use]
    pub fn and_raw_call(mut self, name: impl Into<String>, arguments: impl Into<String>) -> Self {
        let raw = Some(arguments.into());
        self.tool_calls.push(ScriptedCall { name: name.into(), arguments: Value::Null, raw });
        self
    }

    #[must_use]
    pub fn reasoning(mut self, reasoning: impl Into<String>) -> Self {
        self.reasoning = reasoning.into();
        self
    }

    #[must_use]
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    #[must_use]
    pub fn finish(mut self, finish: ReplyFinish) -> Self {
        self.finish = Some(finish);
        self
    }

    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self
    }

    #[must_use]
    pub fn cut_after(mut self, pieces: usize) -> Self {
        self.cut_after = Some(pieces);
        self
    }

    /// This turn and every one after it.
    #[must_use]
    pub fn repeat(mut self) -> Self {
        self.repeat = true;
        self
    }

    pub(super) fn spoken(&self, input: &str, last_result: &str) -> (String, Vec<(String, String)>) {
        let say = |text: &str| {
            // One pass, so that nothing the user or a tool says is taken for a placeholder.
            let parts = text.split("{{input}}");
            let parts = parts.map(|part| part.replace("{{last_tool_result}}", last_result));
            parts.collect::<Vec<_>>().join(input)
        };
        let calls = self.tool_calls.iter().map(|call| {
            let arguments = match (&call.raw, &call.arguments) {
                (Some(raw), _) => raw.clone(),
                (None, Value::Null) => Value::Object(Map::new()).to_string(),
                (None, arguments) => replaced(arguments.clone(), &say).to_string(),
            };
            (call.name.clone(), arguments)
        });
        (say(&self.text), calls.collect())
    }
}

impl Fail {
    pub(super) fn error(&self) -> ModelError {
        let message = "a failure of the simulated model, as scripted".to_owned();
        let retry_after = self.retry_after.map(Duration::from_secs);
        let by_status =
            self.status.map(|status| ModelError::from_status(status, message.clone(), retry_after));
        match (self.kind, by_status) {
            (Some(kind), error) => ModelError {
                kind,
                ..error.unwrap_or(ModelError::new(kind, message).with_retry_after(retry_after))
            },
            (None, Some(error)) => error,
            (None, None) => {
                ModelError::new(ModelErrorKind::Overloaded, message).with_retry_after(retry_after)
            }
        }
    }
}

fn replaced(value: Value, say: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(say(&text)),
        Value::Array(items) => items.into_iter().map(|item| replaced(item, say)).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, field)| (name, replaced(field, say))).collect()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn placeholders_are_filled_everywhere_but_not_twice() {
        let turn: Turn = serde_json::from_value(json!({
            "text": "{{input}} -> {{last_tool_result}}",
            "tool_calls": [{ "name": "a", "arguments": { "x": ["{{input}}", 1] } }, { "name": "b" }],
        }))
        .unwrap();

        let (text, calls) = turn.spoken("{{last_tool_result}}", "{{input}}");

        assert_eq!(text, "{{last_tool_result}} -> {{input}}");
        let first = ("a".into(), json!({ "x": ["{{last_tool_result}}", 1] }).to_string());
        assert_eq!(calls, [first, ("b".into(), "{}".into())]);
    }

    #[test]
    fn a_failure_has_a_status_or_a_kind_or_both() {
        let fail = |status, kind| Fail { status, kind, ..Fail::default() }.error().kind;
        assert_eq!(fail(Some(401), None), ModelErrorKind::Auth);
        assert_eq!(fail(None, Some(ModelErrorKind::Quota)), ModelErrorKind::Quota);
        assert_eq!(fail(Some(429), Some(ModelErrorKind::Quota)), ModelErrorKind::Quota);
        assert_eq!(fail(None, None), ModelErrorKind::Overloaded);
    }
}
