//! What a timer hands to its run: the payload with the slot's particulars filled in.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use shared_models::TriggerId;

use super::schedule::Schedule;

const NAMES: [&str; 4] = ["slot_at", "local_time", "timezone", "trigger_id"];

/// Refuses what could not be filled in or stored; says where, as a JSON Pointer, and why.
pub(crate) fn check(payload: &Value) -> Result<(), (String, String)> {
    match payload {
        Value::String(text) => check_text(text).map_err(|why| (String::new(), why)),
        Value::Array(items) => {
            each(items.iter().enumerate().map(|(place, item)| (place.to_string(), item)))
        }
        Value::Object(fields) => {
            if fields.keys().any(|name| name.contains('\0')) {
                return Err((String::new(), NUL.into()));
            }
            each(
                fields
                    .iter()
                    .map(|(name, value)| (name.replace('~', "~0").replace('/', "~1"), value)),
            )
        }
        _ => Ok(()),
    }
}

const NUL: &str = "the character NUL (U+0000) cannot be stored";

fn each<'a>(mut parts: impl Iterator<Item = (String, &'a Value)>) -> Result<(), (String, String)> {
    parts.try_for_each(|(name, value)| {
        check(value).map_err(|(below, why)| (format!("/{name}{below}"), why))
    })
}

fn check_text(text: &str) -> Result<(), String> {
    if text.contains('\0') {
        return Err(NUL.into());
    }
    let unknown = names(text).find(|name| !NAMES.contains(&name.trim()));
    unknown.map_or(Ok(()), |name| {
        let known = NAMES.map(|name| format!("{{{{{name}}}}}")).join(", ");
        Err(format!("`{{{{{name}}}}}` is not known; known are {known}"))
    })
}

/// What stands between pairs of braces.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")).map(|(name, _)| name)
}

/// The payload of a slot.
pub(crate) fn render(
    payload: Option<&Value>,
    schedule: &Schedule,
    trigger: TriggerId,
    slot: DateTime<Utc>,
) -> Value {
    let slot_at = slot.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let (local_time, timezone) = (schedule.local(slot), schedule.zone.name());
    match payload {
        None => json!({ "slot_at": slot_at, "local_time": local_time, "timezone": timezone }),
        Some(payload) => {
            let trigger = trigger.to_string();
            fill(payload, &[&slot_at, &local_time, timezone, &trigger])
        }
    }
}

fn fill(payload: &Value, values: &[&str; 4]) -> Value {
    match payload {
        Value::String(text) if text.contains("{{") => fill_text(text, values).into(),
        Value::Array(items) => items.iter().map(|item| fill(item, values)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), fill(value, values))).collect()
        }
        other => other.clone(),
    }
}

fn fill_text(text: &str, values: &[&str; 4]) -> String {
    let mut parts = text.split("{{");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let found = part.split_once("}}").and_then(|(name, rest)| {
            let place = NAMES.iter().position(|known| *known == name.trim())?;
            Some((values[place], rest))
        });
        if let Some((value, rest)) = found {
            filled.extend([value, rest]);
        } else {
            filled.extend(["{{", part]);
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::Duration;

    use super::{super::schedule::Pattern, *};

    fn rendered(payload: Option<&Value>) -> Value {
        let slot = "2026-06-01T07:00:00Z".parse().unwrap();
        let schedule = Schedule {
            pattern: Pattern::Once(slot),
            zone: chrono_tz::Europe::Berlin,
            start: None,
            end: None,
            blackout: BTreeSet::new(),
            jitter: Duration::zero(),
        };
        render(payload, &schedule, uuid::Uuid::nil().into(), slot)
    }

    #[test]
    fn the_slots_particulars_are_filled_into_every_text() {
        let payload = json!({ "for": "{{local_time}} in {{ timezone }}", "n": 1, "list": ["{{slot_at}}", "{{", "}}"] });
        check(&payload).unwrap();

        assert_eq!(
            rendered(Some(&payload)),
            json!({ "for": "2026-06-01T09:00:00+02:00 in Europe/Berlin", "n": 1,
                "list": ["2026-06-01T07:00:00Z", "{{", "}}"] })
        );
        assert_eq!(rendered(Some(&Value::Null)), Value::Null);
        assert_eq!(
            rendered(None),
            json!({ "slot_at": "2026-06-01T07:00:00Z", "local_time": "2026-06-01T09:00:00+02:00",
                "timezone": "Europe/Berlin" })
        );
    }

    #[test]
    fn what_cannot_be_filled_in_or_stored_is_refused_with_its_place() {
        let at = |payload: Value| check(&payload).unwrap_err().0;

        assert_eq!(at(json!("{{now}}")), "");
        assert_eq!(at(json!({ "a/b": [1, { "c": "x {{ slotat }}" }] })), "/a~1b/1/c");
        assert_eq!(at(json!({ "a": "\0" })), "/a");
        assert_eq!(at(json!({ "a\0": 1 })), "");
    }
}
