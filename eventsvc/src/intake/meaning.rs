//! What a verified delivery of a provider means: which of its fields identify it, which of them are several deliveries in
//! one, and which are no delivery at all but a handshake.

use chrono::{DateTime, Utc};
use http::HeaderMap;
use serde_json::Value;

use super::DedupeKey;
use crate::{listening, options::Scheme};

/// What came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Meaning {
    /// One delivery, which is the whole payload. Without a key a repetition cannot be told.
    One(Option<DedupeKey>, Option<DateTime<Utc>>),
    /// Several, in the order in which they came.
    Many(Vec<Part>),
    /// A word that is wanted back.
    Challenge(String),
    /// A sign of life, which is only acknowledged.
    Ping,
}

/// One of several deliveries.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    pub payload: Value,
    pub dedupe: Option<DedupeKey>,
    pub occurred_at: Option<DateTime<Utc>>,
}

/// Reads a verified payload as its scheme's provider means it; none where no provider says.
pub(crate) fn of(scheme: Scheme, headers: &HeaderMap, payload: &Value) -> Option<Meaning> {
    match scheme {
        Scheme::Github => Some(github(headers)),
        Scheme::Slack => Some(slack(payload)),
        Scheme::Stripe => Some(stripe(payload)),
        Scheme::Hubspot | Scheme::HubspotV1 => Some(hubspot(payload)),
        Scheme::GoogleOidc => Some(pubsub(payload)),
        Scheme::StandardWebhooks | Scheme::Hmac | Scheme::Bearer | Scheme::Basic | Scheme::None => {
            None
        }
    }
}

fn github(headers: &HeaderMap) -> Meaning {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if header("x-github-event") == Some("ping") {
        return Meaning::Ping;
    }
    Meaning::One(key(header("x-github-delivery")), None)
}

/// An event is told by its id, however often and with whichever retry header it comes; a command or an interaction by the
/// id of its trigger, which is used once.
fn slack(payload: &Value) -> Meaning {
    let text = |name: &str| payload.get(name).and_then(Value::as_str);
    if text("type") == Some("url_verification") {
        return Meaning::Challenge(text("challenge").unwrap_or_default().to_owned());
    }
    let at = payload.get("event_time").and_then(Value::as_i64);
    let at = at.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    Meaning::One(key(text("event_id").or_else(|| text("trigger_id"))), at)
}

fn stripe(payload: &Value) -> Meaning {
    let at = payload.get("created").and_then(Value::as_i64);
    let at = at.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    Meaning::One(key(payload.get("id").and_then(Value::as_str)), at)
}

/// A batch of changes, each of which may come again in another batch.
fn hubspot(payload: &Value) -> Meaning {
    match payload {
        Value::Array(items) => Meaning::Many(items.iter().map(change).collect()),
        _ => Meaning::Many(vec![change(payload)]),
    }
}

fn change(item: &Value) -> Part {
    let number = |name: &str| item.get(name).and_then(Value::as_i64);
    let dedupe = match (number("eventId"), number("subscriptionId"), number("occurredAt")) {
        (Some(event), Some(subscription), Some(at)) => {
            let key = DedupeKey::of(format!("{event}:{subscription}:{at}"));
            Some(key.telling_of(listening::hubspot_about(item)))
        }
        _ => None,
    };
    let occurred_at = number("occurredAt").and_then(DateTime::from_timestamp_millis);
    Part { payload: item.clone(), dedupe, occurred_at }
}

fn pubsub(payload: &Value) -> Meaning {
    let message = &payload["message"];
    let text = |name: &str| message.get(name).and_then(Value::as_str);
    let id = text("messageId").or_else(|| text("message_id"));
    let at = text("publishTime").or_else(|| text("publish_time"));
    Meaning::One(key(id), at.and_then(|at| at.parse().ok()))
}

fn key(id: Option<&str>) -> Option<DedupeKey> {
    id.filter(|id| !id.is_empty()).map(|id| DedupeKey::of(id.to_owned()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn plain(scheme: Scheme, payload: &Value) -> Meaning {
        of(scheme, &HeaderMap::new(), payload).unwrap()
    }

    fn named(id: &str, at: Option<&str>) -> Meaning {
        Meaning::One(Some(DedupeKey::of(id.into())), at.map(|at| at.parse().unwrap()))
    }

    #[test]
    fn each_provider_says_itself_what_a_repetition_is() {
        let slack =
            json!({ "type": "event_callback", "event_id": "Ev1", "event_time": 1_600_000_000 });
        let stripe = json!({ "id": "evt_1", "created": 1_600_000_000 });
        let push =
            json!({ "message": { "messageId": "7", "publishTime": "2026-01-01T00:00:00Z" } });

        assert_eq!(plain(Scheme::Slack, &slack), named("Ev1", Some("2020-09-13T12:26:40Z")));
        assert_eq!(plain(Scheme::Stripe, &stripe), named("evt_1", Some("2020-09-13T12:26:40Z")));
        assert_eq!(plain(Scheme::GoogleOidc, &push), named("7", Some("2026-01-01T00:00:00Z")));
        assert_eq!(plain(Scheme::Stripe, &json!({})), Meaning::One(None, None));
    }

    #[test]
    fn handshakes_are_no_deliveries() {
        let mut headers = HeaderMap::new();
        headers.insert("x-github-event", HeaderValue::from_static("ping"));
        let challenge = json!({ "type": "url_verification", "challenge": "abc" });

        assert_eq!(of(Scheme::Github, &headers, &json!({})), Some(Meaning::Ping));
        assert_eq!(plain(Scheme::Slack, &challenge), Meaning::Challenge("abc".into()));
    }

    #[test]
    fn a_batch_is_as_many_deliveries_and_an_attempt_changes_no_key() {
        let item = |attempt| {
            json!({ "eventId": 1, "subscriptionId": 12345, "portalId": 62515,
                "occurredAt": 1_564_113_600_000_i64, "attemptNumber": attempt, "objectId": 123 })
        };
        let Meaning::Many(parts) =
            plain(Scheme::Hubspot, &json!([item(0), item(1), { "eventId": 2 }]))
        else {
            panic!("a batch");
        };

        assert_eq!(parts[0].dedupe, Some(DedupeKey::of("1:12345:1564113600000".into())));
        assert_eq!(parts[0].dedupe, parts[1].dedupe);
        assert_eq!(parts[0].occurred_at, Some("2019-07-26T04:00:00Z".parse().unwrap()));
        assert_eq!((parts.len(), &parts[2].dedupe), (3, &None));
    }

    proptest! {
        #[test]
        fn whatever_a_provider_sends_is_understood_or_left_alone(text in "[\\[{\"a-z:0-9,}\\] ]{0,60}",
            scheme in prop::sample::select(Scheme::ALL)) {
            let payload = serde_json::from_str(&text).unwrap_or(Value::String(text));
            let _ = of(scheme, &HeaderMap::new(), &payload);
        }
    }
}
