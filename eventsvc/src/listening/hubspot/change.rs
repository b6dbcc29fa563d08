//! A change that was found, in the words of the webhook that should have told of it.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::subscription::{KINDS, about};
use crate::listening::Item;

/// One thing that happened to an object.
pub(super) struct Change {
    pub kind: String,
    pub object: i64,
    pub at: DateTime<Utc>,
    pub what: What,
}

/// What happened to it.
pub(super) enum What {
    Created,
    Deleted,
    /// Which property, what it is now, and who changed it.
    Changed(String, Value, Value),
}

impl Change {
    /// As the webhook would have said it.
    pub(super) fn item(self, portal: &str) -> Item {
        let event = match self.what {
            What::Created => "creation",
            What::Deleted => "deletion",
            What::Changed(..) => "propertyChange",
        };
        let own = KINDS.iter().any(|known| known.0 == self.kind);
        let named = if own { self.kind.as_str() } else { "object" };
        let mut payload = json!({
            "subscriptionType": format!("{named}.{event}"), "objectId": self.object,
            "occurredAt": self.at.timestamp_millis(), "portalId": portal.parse::<i64>().ok(), "recovered": true,
        });
        if !own {
            payload["objectTypeId"] = self.kind.into();
        }
        if let What::Changed(name, value, source) = self.what {
            payload["propertyName"] = name.into();
            payload["propertyValue"] = value;
            payload["changeSource"] = source;
        }
        let about = about(&payload);
        Item {
            key: format!("search:{}", about.as_deref().unwrap_or_default()),
            payload,
            headers: Map::new(),
            occurred_at: Some(self.at),
            recovered: true,
            about,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_and_a_look_tell_of_the_same_change_in_the_same_words() {
        let at: DateTime<Utc> = "2026-01-01T00:00:00.007Z".parse().unwrap();
        let happened =
            |kind: &str, what| Change { kind: kind.into(), object: 7, at, what }.item("62515");
        let email = What::Changed("email".into(), json!("a@example.com"), json!("CRM_UI"));
        let found = happened("contact", email);
        let told = json!({ "eventId": 1, "subscriptionId": 2, "subscriptionType": "contact.propertyChange",
            "objectId": 7, "propertyName": "email", "propertyValue": "a@example.com",
            "occurredAt": at.timestamp_millis(), "attemptNumber": 3 });
        let newer =
            json!({ "subscriptionType": "object.creation", "objectTypeId": "0-1", "objectId": 7 });
        let own = json!({ "subscriptionType": "object.creation", "objectTypeId": "2-346", "objectId": 7 });
        let gone = json!({ "subscriptionType": "contact.deletion", "objectId": 7, "changeFlag": "DELETED",
            "occurredAt": at.timestamp_millis() + 900 });

        assert_eq!(about(&told), found.about);
        assert_eq!(found.about.as_deref(), Some("contact.propertyChange:7:email:1767225600007"));
        assert_eq!(about(&newer), happened("contact", What::Created).about);
        assert_eq!(about(&own), happened("2-346", What::Created).about);
        assert_eq!(about(&own).as_deref(), Some("2-346.creation:7"));
        for field in ["subscriptionType", "objectTypeId", "objectId"] {
            assert_eq!(happened("2-346", What::Created).payload[field], own[field], "{field}");
        }
        assert_eq!(found.payload["portalId"], 62515);
        assert_eq!(about(&gone), happened("contact", What::Deleted).about);
        assert_eq!(
            happened("contact", What::Deleted).payload["subscriptionType"],
            "contact.deletion"
        );
    }
}
