//! Times on the wire: RFC 3339 in UTC with milliseconds. For `#[serde(serialize_with = "…")]`.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serializer;

/// A time.
pub fn time<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// A time that may not have come.
#[allow(clippy::ref_option, reason = "the signature serde calls")]
pub fn maybe<S: Serializer>(at: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => time(at, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_milliseconds_whatever_it_was_made_of() {
        let at: DateTime<Utc> = "2026-01-02T03:04:05.678901+02:00".parse().unwrap();
        let json = || serde_json::value::Serializer;

        assert_eq!(time(&at, json()).unwrap(), "2026-01-02T01:04:05.678Z");
        assert_eq!(maybe(&Some(DateTime::UNIX_EPOCH), json()).unwrap(), "1970-01-01T00:00:00.000Z");
        assert!(maybe(&None, json()).unwrap().is_null());
    }
}
