//! What a fork's journal begins with.

use std::collections::HashSet;

use shared_models::HookPoint;

use super::given::Given;
use super::source::{Source, Written};
use crate::record::{ContentRef, Record};

/// Copies of the other run's records up to a point, each at its path: what they say of its conversations. Left out is what
/// they say of the run itself, how it ended above all, and of calls that nobody had answered: those are made anew. What hooks
/// have let pass counts only when whoever works at that path in the fork has the same ones.
pub(super) fn copies(
    source: &Source,
    upto: i64,
    given: &Given,
    same_hooks: impl Fn(&str) -> bool,
) -> Vec<(String, Record)> {
    let standing = || source.records.iter().filter(|written| written.seq <= upto);
    let answered: HashSet<(&str, &str)> = standing()
        .filter_map(|Written { path, record, .. }| match record {
            Record::ToolAnswered { call_id, .. } => Some((path.as_str(), call_id.as_str())),
            _ => None,
        })
        .collect();
    let replied: HashSet<(&str, u32)> = standing()
        .filter_map(|written| match written.record {
            Record::ModelReplied { step, .. } => Some((written.path.as_str(), step)),
            _ => None,
        })
        .collect();
    let stays = |written: &&Written| match &written.record {
        Record::HookPassed { point, key, .. } if same_hooks(&written.path) => match point {
            HookPoint::PreLlmCall => {
                let step = subject(key).parse().ok();
                step.is_some_and(|step| replied.contains(&(written.path.as_str(), step)))
            }
            HookPoint::PostLlmCall => true,
            HookPoint::PostToolCall => given.get(&written.path, subject(key)).is_none(),
            // A member that has done its part has ended before the fork begins.
            HookPoint::Finished => !written.path.is_empty(),
            HookPoint::Error => source.is_reported(&written.path),
            // The fork begins by itself, and a call that it makes anew is shown anew.
            HookPoint::Start | HookPoint::PreToolCall => false,
        },
        // Asked again, the model may answer, unless others have gone on without it.
        Record::ModelFailed { .. } | Record::Aborted { .. } => source.is_reported(&written.path),
        record => match record.call_id() {
            Some(call_id) => answered.contains(&(written.path.as_str(), call_id)),
            None => is_said(record),
        },
    };
    let kept: Vec<&Written> = standing().filter(stays).collect();
    let open = open_attempts(&kept);
    let kept = kept.into_iter().filter(|written| !open.contains(&written.seq));
    let mut copies: Vec<(String, Record)> = kept
        .map(|Written { path, record, .. }| (path.clone(), edited(path, record.clone(), given)))
        .collect();
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

/// That something was begun of which nothing more stands, in any of the conversations.
fn open_attempts(kept: &[&Written]) -> HashSet<i64> {
    let (mut settled, mut open) = (HashSet::new(), HashSet::new());
    for written in kept.iter().rev() {
        if !is_attempt(&written.record) {
            settled.insert(written.path.as_str());
        } else if !settled.contains(written.path.as_str()) {
            open.insert(written.seq);
        }
    }
    open
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
            | Record::HandedOver { .. }
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
