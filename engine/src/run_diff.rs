//! Two runs beside each other: what was said in them, and what was called.

mod align;

use std::collections::HashMap;

use agentcore::{Message, ToolCall};
use sha2::{Digest as _, Sha256};

pub(crate) use align::{Pair, align};

use crate::replay;
use crate::transcript::Transcript;

/// A call, as two runs are compared by it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Called {
    /// Whose call, in a tree of agents.
    pub(crate) path: String,
    pub(crate) call: ToolCall,
    /// What the model was told, and whether that was an error.
    pub(crate) answer: Option<(String, bool)>,
    arguments: String,
}

/// How a call differs from its counterpart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallChange {
    Same,
    Arguments,
    Result,
}

impl Called {
    /// How the two differ; arguments come first, as another result may come of them.
    pub(crate) fn change(&self, other: &Self) -> CallChange {
        if self.arguments != other.arguments {
            CallChange::Arguments
        } else if self.answer == other.answer {
            CallChange::Same
        } else {
            CallChange::Result
        }
    }
}

/// Everything that was called in a run, each conversation in its order, the conversations by their paths.
pub(crate) fn calls(told: &Transcript, before: usize) -> Vec<Called> {
    let mut calls = Vec::new();
    for (path, conversation) in told.state.conversations() {
        // What was said before the run is not of the run.
        let skipped = if path.is_root() { before } else { 0 };
        let said = conversation.messages.get(skipped..).unwrap_or_default();
        let mut answers: HashMap<&str, (String, bool)> = said
            .iter()
            .filter_map(|message| match message {
                Message::Tool { tool_call_id, content, error, .. } => {
                    Some((tool_call_id.as_str(), (content.clone(), *error)))
                }
                _ => None,
            })
            .collect();
        calls.extend(replay::calls(said).map(|call| Called {
            path: path.to_string(),
            arguments: replay::hash(&call.arguments),
            answer: answers.remove(call.id.as_str()),
            call: call.clone(),
        }));
    }
    calls
}

/// Pairs the calls of two runs: the same ones first, then those of one tool in the same place.
pub(crate) fn pair_calls(one: &[Called], other: &[Called]) -> Vec<Pair> {
    let same = |a: &Called, b: &Called| {
        a.path == b.path && a.call.name == b.call.name && a.arguments == b.arguments
    };
    let alike = |a: &Called, b: &Called| a.path == b.path && a.call.name == b.call.name;
    align(one, other, same, alike)
}

/// A message, as two runs are compared by it: what it says and not by which ids.
pub(crate) struct Print<'a> {
    pub(crate) message: &'a Message,
    hash: [u8; 32],
}

impl<'a> Print<'a> {
    pub(crate) fn of(message: &'a Message) -> Self {
        let mut digest = Sha256::new();
        let mut say = |text: &str| {
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text);
        };
        say(role(message));
        match message {
            Message::System { content } => say(content),
            Message::User { content } => say(&serde_json::to_string(content).unwrap_or_default()),
            Message::Assistant { content, tool_calls, .. } => {
                say(content);
                for call in tool_calls {
                    say(&call.name);
                    say(&replay::hash(&call.arguments));
                }
            }
            Message::Tool { tool_name, content, error, .. } => {
                say(tool_name);
                say(content);
                say(if *error { "error" } else { "ok" });
            }
        }
        Self { message, hash: digest.finalize().into() }
    }
}

/// Pairs what was said in two runs: the same messages first, then those by the same voice in the same place.
pub(crate) fn pair_messages(one: &[Print<'_>], other: &[Print<'_>]) -> Vec<Pair> {
    let same = |a: &Print<'_>, b: &Print<'_>| a.hash == b.hash;
    let alike = |a: &Print<'_>, b: &Print<'_>| role(a.message) == role(b.message);
    align(one, other, same, alike)
}

/// Whether a pair says the same.
pub(crate) fn is_same(one: &Print<'_>, other: &Print<'_>) -> bool {
    one.hash == other.hash
}

pub(crate) fn role(message: &Message) -> &'static str {
    match message {
        Message::System { .. } => "system",
        Message::User { .. } => "user",
        Message::Assistant { .. } => "assistant",
        Message::Tool { .. } => "tool",
    }
}

/// What a message says, as text; what it calls is told elsewhere.
pub(crate) fn text(message: &Message) -> String {
    match message {
        Message::User { content } => content.text(),
        Message::System { content }
        | Message::Assistant { content, .. }
        | Message::Tool { content, .. } => content.clone(),
    }
}
