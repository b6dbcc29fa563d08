//! What time it is, anywhere.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde_json::{Value, json};

use super::text;

pub(super) fn describe() -> (&'static str, Value) {
    let parameters = json!({ "type": "object", "additionalProperties": false, "properties": {
        "timezone": { "type": "string", "description": "An IANA zone such as `Europe/Zurich`; UTC unless said." },
        "at": { "type": "string", "description": "Another moment than now, as RFC 3339." } } });
    ("Tells the current date and time, or what a moment is in another time zone.", parameters)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a model asks for the time; nothing is decided by it"
)]
pub(super) fn now(arguments: &Value) -> Result<String, String> {
    at(Utc::now(), arguments)
}

fn at(now: DateTime<Utc>, arguments: &Value) -> Result<String, String> {
    let moment = match text(arguments, "at") {
        None => now,
        Some(text) => DateTime::parse_from_rfc3339(text)
            .map_err(|error| format!("`{text}` is no moment as RFC 3339 writes it: {error}"))?
            .to_utc(),
    };
    let name = text(arguments, "timezone").unwrap_or("UTC");
    let zone: Tz =
        name.parse().map_err(|_| format!("`{name}` is not a zone of the IANA database"))?;
    let local = moment.with_timezone(&zone);
    Ok(json!({
        "local": local.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        "timezone": zone.name(),
        "weekday": local.format("%A").to_string(),
        "utc": moment.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        "unix": moment.timestamp(),
    })
    .to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_in_a_zone_with_its_summer_time() {
        let now = "2026-01-15T12:00:00Z".parse().unwrap();
        let told = |arguments: Value| at(now, &arguments);

        let winter = told(json!({ "timezone": "Europe/Zurich" })).unwrap();
        let summer =
            told(json!({ "timezone": "Europe/Zurich", "at": "2026-07-15T12:00:00Z" })).unwrap();

        assert!(
            winter.contains("2026-01-15T13:00:00+01:00") && winter.contains("Thursday"),
            "{winter}"
        );
        assert!(summer.contains("2026-07-15T14:00:00+02:00"), "{summer}");
        assert!(told(json!({})).unwrap().contains(r#""local":"2026-01-15T12:00:00Z""#));
        assert!(told(json!({ "timezone": "Mars/Base" })).unwrap_err().contains("Mars/Base"));
        assert!(told(json!({ "at": "tomorrow" })).is_err());
    }
}
