//! What a fork's journal begins with.

use std::collections::HashSet;

use shared_models::HookPoint;

use super::edits::Given;
use super::source::{Source, Written};
use crate::record::{ContentRef, Record};

/// Copies of the other run's records up to a point, each at its path: what they say of its conversations. Left out is what
/// they say of the run itself, how it ended above all, and of calls that nobody had answered: those are made anew. What hooks
/// have let pass counts only when the fork has the same ones.
pub(super) fn copies(
    source: &Source,
    upto: i64,
    given: &Given,
    same_hooks: bool,
) -> Vec<(String, Record)> {
    let standing = || source.records.iter().filter(|written| written.seq <= upto);
    let answered: HashSet<(&str, &str)> = standing()
        .filter_map(|Written { path, record, .. }| match record {
            Record::ToolAnswered { call_id, .. } => Some((path.as_str(), call_id.as_str())),
            _ => None,
        })
        .collect();
    let replied: HashSet<u32> = standing()
        .filter_map(|written| match written.record {
            Record::ModelReplied { step, .. } => Some(step),
            _ => None,
        })
        .collect();
    let stays = |written: &&Written| match &written.record {
        Record::HookPassed { point, key, .. } if same_hooks => match point {
            HookPoint::PreLlmCall => subject(key).parse().is_ok_and(|step| replied.contains(&step)),
            HookPoint::PostLlmCall => true,
            HookPoint::PostToolCall => given.get(&written.path, subject(key)).is_none(),
            // The fork begins and ends itself, and a call that it makes anew is shown anew.
            HookPoint::Start | HookPoint::PreToolCall | HookPoint::Finished | HookPoint::Error => {
                false
            }
        },
        record => match record.call_id() {
            Some(call_id) => answered.contains(&(written.path.as_str(), call_id)),
            None => is_said(record),
        },
    };
    let mut copies: Vec<(String, Record)> = standing()
        .filter(stays)
        .map(|Written { path, record, .. }| (path.clone(), edited(path, record.clone(), given)))
        .collect();
    while copies.pop_if(|(_, record)| is_attempt(record)).is_some() {}
    copies.extend(given.fresh().map(|(path, call_id, result)| {
        let answered = Record::ToolAnswered {
            call_id: call_id.to_owned(),
            tool_name: result.tool_name.clone(),
            message: result.message,
            error: result.error,
        };
        (path.to_owned(), answered)
    }));
    copies
}

/// Whether a record that is about no call says something of the conversations.
fn is_said(record: &Record) -> bool {
    matches!(
        record,
        Record::ModelCalled { .. }
            | Record::ModelReplied { .. }
            | Record::Summarised { .. }
            | Record::NotSummarised { .. }
            | Record::ModelRetried { .. }
    )
}

/// What a hook has let pass, by the key of the record: `path|place:point:subject`.
fn subject(key: &str) -> &str {
    let behind_path = key.split_once('|').map_or(key, |(_, rest)| rest);
    behind_path.splitn(3, ':').nth(2).unwrap_or_default()
}

/// That something was begun which is begun again.
fn is_attempt(record: &Record) -> bool {
    matches!(record, Record::ModelCalled { .. } | Record::ModelRetried { .. })
}

fn edited(path: &str, mut record: Record, given: &Given) -> Record {
    if let Record::ToolAnswered { call_id, message, error, .. } = &mut record
        && let Some(result) = given.get(path, call_id)
    {
        (*message, *error) = (result.message, result.error);
    }
    record
}

/// What was said to the other run.
pub(super) fn input(source: &Source) -> Option<ContentRef> {
    source.records.iter().find_map(|written| match written.record {
        Record::Input { message } => Some(message),
        _ => None,
    })
}
