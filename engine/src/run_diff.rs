//! Two runs beside each other: what was said in them, and what was called.

mod align;

use std::collections::{BTreeMap, HashMap};

use agentcore::swarm::Path;
use agentcore::{Conversation, Message, ToolCall};
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

/// One conversation of a run, as far as it is of the run and of nobody else in it.
pub(crate) struct Talk<'a> {
    /// Whose, in a tree of agents.
    pub(crate) path: Path,
    pub(crate) state: &'a Conversation,
    /// Without what was said before the run, and by others before they handed over.
    said: &'a [Message],
    /// The number of the first of that.
    first: usize,
}

/// The conversations of a run, in the order in which they began at each place.
pub(crate) fn talks(told: &Transcript, before: usize) -> Vec<Talk<'_>> {
    let all = told.state.conversations().into_iter();
    all.map(|(path, state)| {
        let messages = &state.messages;
        let handed_over = told.state.handed_over_by(&told.plan, &path).is_some();
        // What the run was asked is said again behind what is handed over.
        let own = messages.len() - replay::own(state).len();
        let skipped = match (path.is_root(), handed_over) {
            (true, _) => before,
            (false, true) => own.saturating_sub(1),
            (false, false) => 0,
        };
        let first = if path.is_root() { 0 } else { skipped };
        Talk { said: messages.get(skipped..).unwrap_or_default(), path, state, first }
    })
    .collect()
}

/// Everything that was called in a run, each conversation in its order, the conversations in theirs.
pub(crate) fn calls(talks: &[Talk<'_>]) -> Vec<Called> {
    let mut calls = Vec::new();
    for talk in talks {
        let mut answers: HashMap<&str, (String, bool)> = talk
            .said
            .iter()
            .filter_map(|message| match message {
                Message::Tool { tool_call_id, content, error, .. } => {
                    Some((tool_call_id.as_str(), (content.clone(), *error)))
                }
                _ => None,
            })
            .collect();
        calls.extend(replay::calls(talk.said).map(|call| Called {
            path: talk.path.to_string(),
            arguments: replay::hash(&call.arguments),
            answer: answers.remove(call.id.as_str()),
            call: call.clone(),
        }));
    }
    calls
}

/// Pairs the calls of two runs, conversation by conversation: the same ones first, then those of one tool in the same place.
pub(crate) fn pair_calls(one: &[Called], other: &[Called]) -> Vec<Pair> {
    let same = |a: &&Called, b: &&Called| a.call.name == b.call.name && a.arguments == b.arguments;
    let alike = |a: &&Called, b: &&Called| a.call.name == b.call.name;
    by_path(one, other, |called| &called.path, |one, other| align(one, other, same, alike))
}

/// Pairs what stands at the same path: the paths of the first list in their order, then those that only the other one has.
fn by_path<'a, T>(
    one: &'a [T],
    other: &'a [T],
    path: impl Fn(&T) -> &str,
    pair: impl Fn(&[&'a T], &[&'a T]) -> Vec<Pair>,
) -> Vec<Pair> {
    let mut order: Vec<&str> = Vec::new();
    let mut places: BTreeMap<&str, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for (list, is_other) in [(one, false), (other, true)] {
        for (place, element) in list.iter().enumerate() {
            let at = path(element);
            let known = places.entry(at).or_insert_with(|| {
                order.push(at);
                (Vec::new(), Vec::new())
            });
            if is_other { known.1.push(place) } else { known.0.push(place) }
        }
    }
    let mut pairs = Vec::with_capacity(one.len().max(other.len()));
    for (of_one, of_other) in order.iter().filter_map(|path| places.get(path)) {
        let pick = |list: &'a [T], places: &[usize]| -> Vec<&'a T> {
            places.iter().filter_map(|place| list.get(*place)).collect()
        };
        let paired = pair(&pick(one, of_one), &pick(other, of_other));
        pairs.extend(paired.into_iter().map(|pair| match pair {
            Pair::Both(a, b) => Pair::Both(of_one[a], of_other[b]),
            Pair::One(a) => Pair::One(of_one[a]),
            Pair::Other(b) => Pair::Other(of_other[b]),
        }));
    }
    pairs
}

/// A message, as two runs are compared by it: what it says and not by which ids.
pub(crate) struct Print<'a> {
    /// Whose conversation it is of, in a tree of agents.
    pub(crate) path: String,
    /// Its number there, or in the run of an agent.
    pub(crate) n: usize,
    pub(crate) message: &'a Message,
    hash: [u8; 32],
}

/// What was said, each conversation in its order, the conversations in theirs.
pub(crate) fn prints<'a>(talks: &[Talk<'a>]) -> Vec<Print<'a>> {
    let of_each = talks.iter().flat_map(|talk| {
        let numbered = talk.said.iter().enumerate();
        numbered.map(|(n, message)| Print::of(message, &talk.path, talk.first + n))
    });
    of_each.collect()
}

/// Those of each conversation.
pub(crate) fn by_place<'p, 'a>(prints: &'p [Print<'a>]) -> HashMap<&'p str, Vec<&'p Print<'a>>> {
    let mut places: HashMap<&str, Vec<&Print<'_>>> = HashMap::new();
    for print in prints {
        places.entry(&print.path).or_default().push(print);
    }
    places
}

/// What stands at a path in each of the two runs.
pub(crate) type Placed<T> = (String, Option<T>, Option<T>);

/// Pairs what stands once at each path: the first list in its order, then what only the other one has. Gives the first `most`,
/// and whether there are more.
pub(crate) fn pair_places<T>(
    one: Vec<(String, T)>,
    other: Vec<(String, T)>,
    most: usize,
) -> (Vec<Placed<T>>, bool) {
    let order: Vec<String> = other.iter().map(|(path, _)| path.clone()).collect();
    let mut others: HashMap<String, T> = other.into_iter().collect();
    let mut pairs: Vec<Placed<T>> = Vec::with_capacity(one.len().max(order.len()));
    for (path, element) in one {
        let counterpart = others.remove(&path);
        pairs.push((path, Some(element), counterpart));
    }
    let left = |path: String| others.remove(&path).map(|element| (path, None, Some(element)));
    pairs.extend(order.into_iter().filter_map(left));
    let more = pairs.len() > most;
    pairs.truncate(most);
    (pairs, more)
}

impl<'a> Print<'a> {
    fn of(message: &'a Message, path: &Path, n: usize) -> Self {
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
        Self { path: path.to_string(), n, message, hash: digest.finalize().into() }
    }
}

/// Pairs what was said in two runs, conversation by conversation: the same messages first, then those by the same voice in the
/// same place.
pub(crate) fn pair_messages<'a>(one: &'a [Print<'a>], other: &'a [Print<'a>]) -> Vec<Pair> {
    let same = |a: &&Print<'_>, b: &&Print<'_>| a.hash == b.hash;
    let alike = |a: &&Print<'_>, b: &&Print<'_>| role(a.message) == role(b.message);
    by_path(one, other, |print| &print.path, |one, other| align(one, other, same, alike))
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

#[cfg(test)]
mod tests {
    use super::pair_places;

    #[test]
    fn what_stands_at_the_same_place_is_paired_and_no_more_is_shown_than_fits() {
        let list = |places: &[&str]| -> Vec<(String, String)> {
            places.iter().map(|place| ((*place).to_owned(), format!("at {place}"))).collect()
        };
        let pairs = |most| {
            let (pairs, more) = pair_places(list(&["c", "a", "b"]), list(&["d", "b", "c"]), most);
            let shown: Vec<String> = pairs
                .into_iter()
                .map(|(path, a, b)| {
                    for element in [&a, &b].into_iter().flatten() {
                        assert_eq!(*element, format!("at {path}"));
                    }
                    format!("{path} {} {}", a.is_some(), b.is_some())
                })
                .collect();
            (shown, more)
        };
        let all = ["c true true", "a true false", "b true true", "d false true"];

        assert_eq!(pairs(4), (all.map(str::to_owned).to_vec(), false));
        assert_eq!(pairs(3), (all[..3].iter().map(|&one| one.to_owned()).collect(), true));
    }
}
