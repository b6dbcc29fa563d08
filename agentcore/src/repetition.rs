//! Notices a model that asks for the same thing again and again.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared_models::message::ToolCall;

/// Counts identical turns in a row. Two turns are identical when they make the same calls, in whatever order and
/// however the arguments were spelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Repetition {
    threshold: u32,
    last: Vec<String>,
    times: u32,
}

impl Repetition {
    pub(crate) fn new(threshold: u32) -> Self {
        Self { threshold: threshold.max(2), last: Vec::new(), times: 0 }
    }

    /// Takes note of a turn; true when it is one too many.
    pub(crate) fn is_loop(&mut self, calls: &[ToolCall]) -> bool {
        let turn = signature(calls);
        self.times = if turn == self.last { self.times.saturating_add(1) } else { 1 };
        self.last = turn;
        self.times >= self.threshold
    }

    pub(crate) fn times(&self) -> u32 {
        self.times
    }
}

fn signature(calls: &[ToolCall]) -> Vec<String> {
    let mut turn: Vec<String> =
        calls.iter().map(|call| format!("{}:{}", call.name, canonical(&call.arguments))).collect();
    turn.sort_unstable();
    turn
}

/// RFC 8785 where the model wrote JSON; its own words where it did not.
fn canonical(arguments: &str) -> String {
    serde_json::from_str::<Value>(arguments)
        .and_then(|value| serde_json_canonicalizer::to_string(&value))
        .unwrap_or_else(|_| arguments.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, arguments: &str) -> ToolCall {
        ToolCall { id: "c".into(), name: name.into(), arguments: arguments.into() }
    }

    #[test]
    fn order_and_spelling_of_a_turn_do_not_matter() {
        let mut repetition = Repetition::new(3);

        let one = [call("a", r#"{"x":1,"y":"é"}"#), call("b", "{}")];
        let two = [call("b", " { } "), call("a", r#"{"y":"\u00e9","x":1.0}"#)];

        assert!(!repetition.is_loop(&one));
        assert!(!repetition.is_loop(&two));
        assert!(repetition.is_loop(&one));
    }

    #[test]
    fn a_different_turn_in_between_starts_the_count_again() {
        let mut repetition = Repetition::new(2);
        let (one, two) = ([call("a", "not json")], [call("a", "not  json")]);

        let seen = [&one, &two, &one, &one].map(|turn| repetition.is_loop(turn));

        assert_eq!(seen, [false, false, false, true]);
    }
}
