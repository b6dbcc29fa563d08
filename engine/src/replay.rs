//! Answers that tools gave before, given again instead of calling them.
//!
//! A run that carries a [`Replay`] in its snapshot asks it first. An answer is found by the tool's name, the SHA-256 of the
//! arguments' canonical form (RFC 8785), and how often this conversation has made the same call before. So it is found
//! again after a crash, whatever order the calls of a turn are answered in.

use agentcore::{Answer, Conversation, Message, ToolCall};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// What a run is answered with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Replay {
    pub(crate) answers: Vec<Recorded>,
    pub(crate) otherwise: Otherwise,
}

/// What becomes of a call that was not made before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Otherwise {
    /// It is not made, and the model is told so.
    Refuse,
    /// It is made.
    Call,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recorded {
    pub(crate) tool_name: String,
    /// As [`hash`] gives it.
    pub(crate) arguments: String,
    pub(crate) content: String,
    #[serde(default)]
    pub(crate) error: bool,
}

impl Replay {
    /// The answer to this call of the conversation, if it was made before. The last answer stands for further calls.
    pub(crate) fn answer(&self, said: &[Message], call: &ToolCall) -> Option<Answer> {
        let wanted = hash(&call.arguments);
        let same = |name: &str, arguments: &str| name == call.name && arguments == wanted;
        let found: Vec<&Recorded> =
            self.answers.iter().filter(|one| same(&one.tool_name, &one.arguments)).collect();
        // An id may have been used before; the call is the last one of it.
        let made: Vec<&ToolCall> = calls(said).collect();
        let place = made.iter().rposition(|made| made.id == call.id).unwrap_or(made.len());
        let earlier = made.iter().take(place);
        let before = earlier.filter(|made| same(&made.name, &hash(&made.arguments))).count();
        let one = found.get(before).or(found.last())?;
        Some(Answer { content: one.content.clone(), error: one.error })
    }

    /// Why a call that was not made before is not made now either; none when it is made.
    pub(crate) fn refusal(&self, call: &ToolCall) -> Option<Answer> {
        (self.otherwise == Otherwise::Refuse).then(|| {
            Answer::error(format!(
                "This run answers tools from a recording, and the recording has no answer of `{}` for these arguments: \
                 the call was not made.",
                call.name
            ))
        })
    }
}

/// The name of arguments, as a model writes them: of equal ones the same, however they are written. Text that is no JSON
/// stands for itself; none stands for an empty object.
pub(crate) fn hash(arguments: &str) -> String {
    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
    let canonical = serde_json::from_str::<Value>(arguments)
        .and_then(|value| serde_json_canonicalizer::to_vec(&value))
        .unwrap_or_else(|_| arguments.as_bytes().to_vec());
    hex::encode(Sha256::digest(canonical))
}

/// What somebody has said in a conversation, and what they were told since: without what was said before, by others too who
/// have handed over to them.
pub(crate) fn own(state: &Conversation) -> &[Message] {
    let said = state.messages.iter().enumerate().rev();
    let mut replies = said.filter(|(_, message)| matches!(message, Message::Assistant { .. }));
    let first = (state.steps as usize).checked_sub(1).and_then(|others| replies.nth(others));
    first.and_then(|(place, _)| state.messages.get(place..)).unwrap_or_default()
}

/// The calls of a conversation, in the order they were asked for.
pub(crate) fn calls(said: &[Message]) -> impl Iterator<Item = &ToolCall> {
    said.iter()
        .filter_map(|message| match message {
            Message::Assistant { tool_calls, .. } => Some(tool_calls),
            _ => None,
        })
        .flatten()
}

#[cfg(test)]
mod tests {
    use agentcore::{Happened, Reply};

    use super::*;

    fn call(id: &str, arguments: &str) -> ToolCall {
        ToolCall { id: id.into(), name: "look".into(), arguments: arguments.into() }
    }

    fn asked(calls: &[ToolCall]) -> Message {
        Message::Assistant {
            content: String::new(),
            tool_calls: calls.to_vec(),
            reasoning: None,
            replay: None,
        }
    }

    #[test]
    fn the_same_call_made_twice_gets_the_first_and_then_the_second_answer_in_whatever_spelling() {
        let one = |content: &str| Recorded {
            tool_name: "look".into(),
            arguments: hash(r#"{"x":1,"y":[2]}"#),
            content: content.into(),
            error: false,
        };
        let answers = vec![one("first"), one("second")];
        let replay = Replay { answers, otherwise: Otherwise::Refuse };

        let now = [asked(&[
            call("1", r#"{ "y": [2.0], "x": 1 }"#),
            call("2", r#"{"x":1e0,"y":[2]}"#),
            call("3", r#"{"x":1,"y":[2]}"#),
            call("4", r#"{"x":2,"y":[2]}"#),
        ])];
        let Message::Assistant { tool_calls, .. } = &now[0] else { panic!() };
        let answers: Vec<Option<String>> = tool_calls
            .iter()
            .map(|call| replay.answer(&now, call).map(|answer| answer.content))
            .collect();

        let some = |text: &str| Some(text.to_owned());
        assert_eq!(answers, [some("first"), some("second"), some("second"), None]);
        assert!(replay.refusal(&tool_calls[3]).unwrap().content.contains("`look`"));
    }

    #[test]
    fn what_others_have_said_before_is_not_somebodys_own() {
        let (mut state, input) = (Conversation::new(""), vec![Message::user("go")]);
        assert_eq!(own(&state), []);
        let before = [input.clone(), vec![asked(&[call("1", "{}")]), Message::user("go")]].concat();
        agentcore::step(&mut state, Happened::Started { input: before });
        assert_eq!(own(&state), [], "it has not said anything yet");

        let tool_calls = vec![call("2", "{}")];
        let reply = Reply { tool_calls: tool_calls.clone(), ..Reply::default() };
        agentcore::step(&mut state, Happened::Replied(reply));
        let answer = Answer::ok("seen");
        agentcore::step(&mut state, Happened::Answered { call_id: "2".into(), answer });

        assert_eq!(calls(own(&state)).collect::<Vec<_>>(), tool_calls.iter().collect::<Vec<_>>());
        assert_eq!(own(&state).len(), 2, "the call and its answer");
    }

    #[test]
    fn no_arguments_are_an_empty_object_and_what_is_no_json_stands_for_itself() {
        assert_eq!(hash(""), hash(" {} "));
        assert_ne!(hash("no json"), hash("no  json"));
    }
}
