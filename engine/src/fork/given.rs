//! What people say that tools have answered in another run.

use std::collections::{BTreeMap, HashMap};

use agentcore::Message;
use servicekit::FieldError;
use shared_models::RunMode;

use super::edits::ToolResult;
use super::source::{Source, Wanted};
use crate::call_key;
use crate::error::Error;
use crate::record::ContentRef;

/// Results that were given in place of those of the other run, by path and call.
#[derive(Default)]
pub(super) struct Given {
    results: HashMap<(String, String), Result>,
    /// Whose call each is given for, in the order in which they were said.
    pub(super) paths: Vec<String>,
}

/// One of them, as the journal refers to it.
pub(super) struct Result {
    pub(super) message: ContentRef,
    pub(super) body: Vec<u8>,
    pub(super) tool_name: String,
    pub(super) error: bool,
    /// Nobody had answered the call, and it was made before the fork.
    pub(super) is_new: bool,
}

impl Given {
    pub(super) fn get(&self, path: &str, call_id: &str) -> Option<&Result> {
        self.results.get(&(path.to_owned(), call_id.to_owned()))
    }

    /// Answers to calls that nobody had answered, each at its path, in a certain order.
    pub(super) fn fresh(&self) -> impl Iterator<Item = (&str, &str, &Result)> {
        let fresh = self.results.iter().filter(|(_, result)| result.is_new);
        let sorted: BTreeMap<_, _> = fresh.collect();
        sorted.into_iter().map(|((path, call), result)| (path.as_str(), call.as_str(), result))
    }

    pub(super) fn bodies(&self) -> impl Iterator<Item = (ContentRef, &[u8])> {
        self.results.values().map(|result| (result.message, result.body.as_slice()))
    }

    /// Finds the calls that results are given for. Those that a live run makes itself are refused.
    pub(super) fn resolve(
        source: &Source,
        upto: i64,
        mode: RunMode,
        results: &[ToolResult],
    ) -> std::result::Result<Self, Error> {
        let calls = source.calls();
        let mut given = Self::default();
        let mut errors = Vec::new();
        for (place, result) in results.iter().enumerate() {
            let mut refuse = |why: &str| {
                let pointer = format!("/edits/tool_results/{place}/call_id");
                errors.push(FieldError::new(pointer, why));
            };
            let call = match which(&calls, result) {
                Ok(call) => call,
                Err(why) => {
                    refuse(why);
                    continue;
                }
            };
            if call.is_passed_on {
                refuse("a member answers that call, and no tool");
                continue;
            }
            let stands = call.answered.is_some_and(|(seq, _)| seq <= upto);
            if mode.is_live() && call.asked > upto {
                refuse("it was made later than the fork begins, and a live run makes it itself");
                continue;
            }
            given.paths.push(call.path.to_owned());
            let key = (call.path.to_owned(), call.call.id.clone());
            let resolved = result.resolved(call, !stands && call.asked <= upto)?;
            if given.results.insert(key, resolved).is_some() {
                refuse("its result is given twice");
            }
        }
        if errors.is_empty() { Ok(given) } else { Err(Error::Invalid(errors)) }
    }
}

/// The call that a result is given for.
fn which<'a, 's>(
    calls: &'a [Wanted<'s>],
    result: &ToolResult,
) -> std::result::Result<&'a Wanted<'s>, &'static str> {
    let path = result.path.as_deref().map(call_key::path_of);
    let mut same = calls.iter().filter(|wanted| {
        wanted.call.id == result.call_id && path.as_deref().is_none_or(|path| path == wanted.path)
    });
    let found = same.next().ok_or("the run has made no such call")?;
    if same.any(|other| other.path != found.path) {
        return Err("several members have made a call with this id: say whose, in `path`");
    }
    Ok(found)
}

impl ToolResult {
    fn resolved(&self, call: &Wanted<'_>, is_new: bool) -> std::result::Result<Result, Error> {
        let said = Message::Tool {
            tool_call_id: call.call.id.clone(),
            tool_name: call.call.name.clone(),
            content: self.content.clone(),
            error: self.error,
        };
        let body = serde_json::to_vec(&said).map_err(anyhow::Error::from)?;
        Ok(Result {
            message: ContentRef::of(&body),
            body,
            tool_name: call.call.name.clone(),
            error: self.error,
            is_new,
        })
    }
}
