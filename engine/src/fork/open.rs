//! Calls that the other run had begun and whose end the fork does not know.

use std::collections::BTreeMap;

use servicekit::FieldError;
use shared_models::Effect;

use super::given::Given;
use super::source::{Source, Written};
use crate::call_key;
use crate::error::Error;
use crate::record::Record;

/// Refuses a live fork that would make a call again that the other run may have made, and that is not harmless to make twice:
/// the fork's calls have keys of their own, so whoever is called cannot tell that it is the same one.
pub(super) fn check(source: &Source, upto: i64, given: &Given) -> Result<(), Error> {
    let standing = source.records.iter().take_while(|written| written.seq <= upto);
    let mut errors = Vec::new();
    for ((path, call_id), tool) in begun(standing) {
        if given.get(path, call_id).is_some() {
            continue;
        }
        let names = call_key::names(path).join("/");
        let of = if names.is_empty() { String::new() } else { format!(" of `{names}`") };
        errors.push(FieldError::new(
            "/repeat_open_calls",
            format!(
                "the call `{call_id}` of the tool `{tool}`{of} had begun there and was not answered, and may have happened: \
                 give its result in `edits.tool_results`, fork from another point, or say `true` to have it made again"
            ),
        ));
    }
    if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
}

/// Calls by path and id that may have happened, with the names of their tools.
fn begun<'a>(standing: impl Iterator<Item = &'a Written>) -> BTreeMap<(&'a str, &'a str), &'a str> {
    let (mut harmful, mut begun) = (BTreeMap::new(), BTreeMap::new());
    for Written { path, record, .. } in standing {
        let key = |call_id: &'a String| (path.as_str(), call_id.as_str());
        match record {
            Record::ToolIntended { call_id, tool_name, effect, .. } => {
                if matches!(effect, Effect::Keyed | Effect::Unsafe) {
                    harmful.insert(key(call_id), tool_name.as_str());
                    begun.insert(key(call_id), tool_name.as_str());
                }
            }
            Record::ToolRepeated { call_id, .. } => {
                if let Some(tool) = harmful.get(&key(call_id)) {
                    begun.insert(key(call_id), *tool);
                }
            }
            // Somebody knows that it has not happened.
            Record::DoubtAnswered { call_id, happened: false, .. }
            | Record::ToolAnswered { call_id, .. } => {
                begun.remove(&key(call_id));
            }
            _ => {}
        }
    }
    begun
}
