//! What stands beside each other in two runs: their members, what was said, what was called.

use serde::Serialize;
use utoipa::ToSchema;

use super::diff_runs::{DiffedAgent, Side};
use crate::call_key;
use crate::run_diff::{self, CallChange, Called, Pair, Print};

/// How something differs.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Change {
    Same,
    /// It says something else.
    Changed,
    /// The same tool is called with other arguments.
    Arguments,
    /// The same call has another result.
    Result,
    /// Only `b` has it.
    Added,
    /// Only `a` has it.
    Removed,
}

/// One time that a member of a swarm works, in one of the runs or in both.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MemberDiff {
    change: Change,
    /// From the outermost member inwards.
    path: Vec<String>,
    a: Option<DiffedMember>,
    b: Option<DiffedMember>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DiffedMember {
    pub(super) agent: Option<DiffedAgent>,
    /// Replies of its model.
    pub(super) steps: u32,
    /// How it ended; null when it has not.
    pub(super) finish_reason: Option<&'static str>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MessageDiff {
    change: Change,
    role: &'static str,
    /// Whose conversation it is of, in a run of a swarm; empty for the run's own agent.
    path: Vec<String>,
    a: Option<DiffedMessage>,
    b: Option<DiffedMessage>,
}

#[derive(Debug, Serialize, ToSchema)]
struct DiffedMessage {
    /// Its number in its run, or in the conversation of the swarm's member, from 0.
    n: usize,
    #[serde(flatten)]
    text: Excerpt,
    /// The names of the tools that it calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    calls: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CallDiff {
    change: Change,
    tool_name: String,
    /// Whose call, in a run of a swarm; empty for the run's own agent.
    path: Vec<String>,
    a: Option<DiffedCall>,
    b: Option<DiffedCall>,
}

#[derive(Debug, Serialize, ToSchema)]
struct DiffedCall {
    call_id: String,
    /// As the model wrote them.
    arguments: Excerpt,
    /// What the model was told; null when nobody has answered.
    result: Option<Excerpt>,
    /// That was an error.
    error: bool,
}

/// A text, or how it begins.
#[derive(Debug, Serialize, ToSchema)]
struct Excerpt {
    /// Null for somebody who may not see content.
    text: Option<String>,
    /// Of the whole text.
    bytes: usize,
    /// There is more of it than is shown.
    cut: bool,
}

const MOST: usize = 500;
/// What is shown of a text that differs, and of one that does not.
const LONGEST: usize = 4096;
const LONGEST_SAME: usize = 256;

/// What is to be said of a whole list of pairs, also of those that are not shown.
pub(super) struct Whole {
    pub(super) same: bool,
    pub(super) more: bool,
}

impl Whole {
    fn of(pairs: &[Pair], same: impl Fn(usize, usize) -> bool) -> Self {
        let alike = |pair: &Pair| matches!(*pair, Pair::Both(a, b) if same(a, b));
        Self { same: pairs.iter().all(alike), more: pairs.len() > MOST }
    }
}

/// Who has worked in the runs, of those that are swarms', and whether there are more of them.
pub(super) fn members(
    (one, other): (&Side, &Side),
    (a, b): (&[Print<'_>], &[Print<'_>]),
) -> (Vec<MemberDiff>, bool) {
    let of = |side: &Side| -> Vec<(String, DiffedMember)> {
        let talks = side.talks().into_iter().filter(|talk| !talk.path.is_root());
        talks.map(|talk| (talk.path.to_string(), side.member(&talk))).collect()
    };
    let (a, b) = (run_diff::by_place(a), run_diff::by_place(b));
    let same = |path: &str| {
        let (a, b) = (a.get(path), b.get(path));
        let (a, b) = (a.map_or(&[][..], Vec::as_slice), b.map_or(&[][..], Vec::as_slice));
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| run_diff::is_same(a, b))
    };
    let diff = |(path, a, b): run_diff::Placed<DiffedMember>| MemberDiff {
        change: match (&a, &b) {
            (Some(_), Some(_)) if same(&path) => Change::Same,
            (Some(_), Some(_)) => Change::Changed,
            (Some(_), None) => Change::Removed,
            (None, _) => Change::Added,
        },
        path: call_key::names(&path),
        a,
        b,
    };
    let (pairs, more) = run_diff::pair_places(of(one), of(other), MOST);
    (pairs.into_iter().map(diff).collect(), more)
}

pub(super) fn messages(
    (a, b): (&[Print<'_>], &[Print<'_>]),
    payloads: bool,
) -> (Vec<MessageDiff>, Whole) {
    let pairs = run_diff::pair_messages(a, b);
    let show = |print: &Print<'_>, change: Change| DiffedMessage {
        n: print.n,
        text: Excerpt::of(&run_diff::text(print.message), change, payloads),
        calls: match print.message {
            agentcore::Message::Assistant { tool_calls, .. } => {
                tool_calls.iter().map(|call| call.name.clone()).collect()
            }
            _ => Vec::new(),
        },
    };
    let diff = |pair: &Pair| {
        let (n, m) = places(*pair);
        let (left, right) = (n.and_then(|n| a.get(n)), m.and_then(|m| b.get(m)));
        let change = match left.zip(right) {
            Some((left, right)) if run_diff::is_same(left, right) => Change::Same,
            Some(_) => Change::Changed,
            None if left.is_some() => Change::Removed,
            None => Change::Added,
        };
        MessageDiff {
            change,
            role: left.or(right).map_or("", |print| run_diff::role(print.message)),
            path: left.or(right).map(|print| call_key::names(&print.path)).unwrap_or_default(),
            a: left.map(|print| show(print, change)),
            b: right.map(|print| show(print, change)),
        }
    };
    let same = |n: usize, m: usize| {
        a.get(n).zip(b.get(m)).is_some_and(|(left, right)| run_diff::is_same(left, right))
    };
    (pairs.iter().take(MOST).map(diff).collect(), Whole::of(&pairs, same))
}

pub(super) fn tools((one, other): (&Side, &Side), payloads: bool) -> (Vec<CallDiff>, Whole) {
    let pairs = run_diff::pair_calls(&one.calls, &other.calls);
    let show = |called: &Called, change: Change| DiffedCall {
        call_id: called.call.id.clone(),
        arguments: Excerpt::of(&called.call.arguments, change, payloads),
        result: called.answer.as_ref().map(|(text, _)| Excerpt::of(text, change, payloads)),
        error: called.answer.as_ref().is_some_and(|(_, error)| *error),
    };
    let diff = |pair: &Pair| {
        let (n, m) = places(*pair);
        let (a, b) = (n.and_then(|n| one.calls.get(n)), m.and_then(|m| other.calls.get(m)));
        let change = match a.zip(b).map(|(a, b)| a.change(b)) {
            Some(CallChange::Same) => Change::Same,
            Some(CallChange::Arguments) => Change::Arguments,
            Some(CallChange::Result) => Change::Result,
            None if a.is_some() => Change::Removed,
            None => Change::Added,
        };
        let named = a.or(b);
        CallDiff {
            change,
            tool_name: named.map(|called| called.call.name.clone()).unwrap_or_default(),
            path: named.map(|called| call_key::names(&called.path)).unwrap_or_default(),
            a: a.map(|called| show(called, change)),
            b: b.map(|called| show(called, change)),
        }
    };
    let same = |n: usize, m: usize| {
        let (a, b) = (one.calls.get(n), other.calls.get(m));
        a.zip(b).is_some_and(|(a, b)| a.change(b) == CallChange::Same)
    };
    (pairs.iter().take(MOST).map(diff).collect(), Whole::of(&pairs, same))
}

fn places(pair: Pair) -> (Option<usize>, Option<usize>) {
    match pair {
        Pair::Both(a, b) => (Some(a), Some(b)),
        Pair::One(a) => (Some(a), None),
        Pair::Other(b) => (None, Some(b)),
    }
}

impl Excerpt {
    fn of(text: &str, change: Change, payloads: bool) -> Self {
        let most = if matches!(change, Change::Same) { LONGEST_SAME } else { LONGEST };
        let shown = text.get(..text.floor_char_boundary(most)).unwrap_or_default();
        let cut = shown.len() < text.len();
        Self { text: payloads.then(|| shown.to_owned()), bytes: text.len(), cut }
    }
}
