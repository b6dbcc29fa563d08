//! Runs that go on from where another one stood, with something changed.
//!
//! A fork's journal begins with copies of the other run's records. What they refer to is not copied but held: the content
//! of the other run's tree stays as long as the fork has content itself (`store/fork.rs`).
//!
//! A dry fork asks its models and calls nothing: a call is answered with what the other run was told when it made the same
//! call for the same time. What is the same is said by the tool's name and the hash of the arguments, see
//! [`crate::replay`]. The answers are found out when the fork is made, so it does not matter how the other run goes on.

mod change;
mod edits;
mod given;
mod make;
mod open;
mod prefix;
mod source;
mod swarm;

use std::collections::BTreeSet;

use agentcore::{Message, ToolCall};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

pub(crate) use edits::{Edits, Point};
pub(crate) use make::{Asked, make};
pub(crate) use source::MOST_RECORDS;

use crate::record::ContentRef;
use crate::replay;

/// What becomes of a call of a dry run that the other run has not made, or of which it was told nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unmatched {
    /// The run waits for `input`: a person gives the answer, refuses the call, or has it made.
    #[default]
    Ask,
    /// The model is told that the call is not made.
    Refuse,
    /// It is made.
    Live,
}

/// What a person has said about such a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Decision {
    /// The model is told what the person has given.
    Result,
    /// The model is told that the call is not made.
    Refuse,
    /// It is made.
    Live,
}

/// What a fork knows beside its agent and its journal. A part of its snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fork {
    /// What the other run was told in place of the oldest messages of its conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) summary: Option<String>,
    /// What its calls are answered with, when it is dry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dry: Option<Dry>,
}

/// What the calls of a dry run are answered with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Dry {
    pub(crate) unmatched: Unmatched,
    /// Tools that are called for real when somebody says so: those that the agent has today just as the run has them.
    pub(crate) callable: BTreeSet<String>,
    /// What the other run has called, each conversation in its order.
    pub(crate) calls: Vec<Made>,
}

/// A call that the other run has made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Made {
    /// Whose call it was, in a tree of agents.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) path: String,
    pub(crate) call_id: String,
    pub(crate) tool_name: String,
    /// As [`replay::hash`] gives it.
    pub(crate) arguments: String,
    /// What the model was told; nothing when nobody had answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<ContentRef>,
    /// Somebody has changed the answer since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) edited: bool,
}

impl Dry {
    /// The call of the other run that this one repeats, and what it was told. `said` is the conversation at that path so
    /// far: a call that is made for the second time repeats the second one.
    pub(crate) fn find(
        &self,
        path: &str,
        said: &[Message],
        call: &ToolCall,
    ) -> Option<(&Made, ContentRef)> {
        let arguments = replay::hash(&call.arguments);
        let before = replay::calls(said)
            .take_while(|earlier| earlier.id != call.id)
            .filter(|earlier| {
                earlier.name == call.name && replay::hash(&earlier.arguments) == arguments
            })
            .count();
        let same = |made: &&Made| {
            made.path == path && made.tool_name == call.name && made.arguments == arguments
        };
        let made = self.calls.iter().filter(same).nth(before)?;
        Some((made, made.answer?))
    }
}

/// Most of what a person is shown of a call's arguments.
const LONGEST_SHOWN: usize = 8 * 1024;

/// What people are asked about a call.
pub(crate) fn question(call: &ToolCall) -> String {
    let shown = call.arguments.get(..call.arguments.floor_char_boundary(LONGEST_SHOWN));
    let shown = shown.unwrap_or_default();
    let more = call.arguments.len() - shown.len();
    let cut = if more > 0 { format!(" (and {more} bytes more)") } else { String::new() };
    format!(
        "This is a dry run, and the run it is a fork of has no answer to this call of `{}`: {shown}{cut}. What is the \
         model told?",
        call.name
    )
}

/// The form of the answer.
pub(crate) fn form(may_be_called: bool) -> Value {
    let decisions: &[&str] =
        if may_be_called { &["result", "refuse", "live"] } else { &["result", "refuse"] };
    serde_json::json!({
        "type": "object", "required": ["decision"], "additionalProperties": false,
        "properties": {
            "decision": { "enum": decisions,
                "description": "`result` tells the model the `result`, `refuse` that the call is not made, and with `live` \
                                it is made for real." },
            "result": { "description": "What the tool is said to have answered: text, or any JSON." },
            "reason": { "type": "string", "maxLength": 4096, "description": "Told to the model with `refuse`." },
        },
        "if": { "properties": { "decision": { "const": "result" } } },
        "then": { "required": ["result"] },
    })
}

/// An answer in that form.
#[derive(Debug, Deserialize)]
pub(crate) struct Said {
    pub(crate) decision: Decision,
    #[serde(default)]
    result: Option<Value>,
    #[serde(default)]
    pub(crate) reason: Option<String>,
}

impl Said {
    /// The result as the model reads it.
    pub(crate) fn result(&self) -> String {
        match &self.result {
            None => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
        ToolCall { id: id.into(), name: name.into(), arguments: arguments.into() }
    }

    fn made(path: &str, id: &str, arguments: &str, answer: Option<u8>) -> Made {
        Made {
            path: path.into(),
            call_id: id.into(),
            tool_name: "look".into(),
            arguments: replay::hash(arguments),
            answer: answer.map(|n| ContentRef([n; 32])),
            edited: false,
        }
    }

    #[test]
    fn a_call_repeats_the_same_one_of_its_own_conversation_as_often_as_it_was_made_and_no_other() {
        let calls = vec![
            made("", "a", r#"{"x":1,"y":2}"#, Some(1)),
            made("lead", "b", r#"{"x":1,"y":2}"#, Some(2)),
            made("", "c", r#"{"x":1,"y":2}"#, None),
            made("", "d", r#"{"y":2,"x":1}"#, Some(4)),
        ];
        let dry = Dry { unmatched: Unmatched::Ask, callable: BTreeSet::new(), calls };
        let now: Vec<ToolCall> =
            (0..4).map(|n| call(&n.to_string(), "look", r#"{"y":2.0, "x":1}"#)).collect();
        let said = [Message::Assistant {
            content: String::new(),
            tool_calls: now.clone(),
            reasoning: None,
            replay: None,
        }];
        let found = |path: &str, call: &ToolCall| {
            dry.find(path, &said, call).map(|(made, answer)| (made.call_id.as_str(), answer.0[0]))
        };

        assert_eq!(found("", &now[0]), Some(("a", 1)));
        assert_eq!(found("", &now[1]), None, "nobody had answered the second one");
        assert_eq!(found("", &now[2]), Some(("d", 4)));
        assert_eq!(found("", &now[3]), None, "it was made three times");
        assert_eq!(found("lead", &now[0]), Some(("b", 2)));
        assert_eq!(found("", &call("9", "look", r#"{"x":2,"y":2}"#)), None);
        assert_eq!(found("", &call("9", "pay", r#"{"x":1,"y":2}"#)), None);
    }

    #[test]
    fn what_people_answer_has_one_form() {
        let fits = |may: bool, answer: &str| agentcore::check_arguments(&form(may), answer).is_ok();

        assert!(fits(true, r#"{"decision":"result","result":{"n":1}}"#));
        assert!(fits(true, r#"{"decision":"live"}"#) && !fits(false, r#"{"decision":"live"}"#));
        assert!(fits(false, r#"{"decision":"refuse","reason":"no"}"#));
        for bad in [r#"{"decision":"result"}"#, r#"{"decision":"yes"}"#, r#"{"result":1}"#, "1"] {
            assert!(!fits(true, bad), "{bad}");
        }
    }

    #[test]
    fn a_question_shows_how_long_arguments_begin() {
        let text = question(&call("1", "look", &"é".repeat(LONGEST_SHOWN)));

        assert!(text.len() < LONGEST_SHOWN + 300);
        assert!(text.contains("`look`") && text.contains("(and 8192 bytes more)"), "{text}");
    }
}
