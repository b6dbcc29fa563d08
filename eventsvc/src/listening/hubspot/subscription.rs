//! What a HubSpot app is told of, and how a change is told from others, whoever tells of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

pub(super) const KINDS: [(&str, &str, &str); 6] = [
    // In subscriptions, in paths, and by HubSpot's own number.
    ("contact", "contacts", "0-1"),
    ("company", "companies", "0-2"),
    ("deal", "deals", "0-3"),
    ("ticket", "tickets", "0-5"),
    ("product", "products", "0-7"),
    ("line_item", "line_items", "0-8"),
];

/// HubSpot names no one moment of a deletion: what a webhook says and what the list says of it is taken as the same within
/// one of these, in milliseconds, and where it falls into the next (see [`nearby`]).
const SAME_DELETION: i64 = 60 * 1000;

/// What a HubSpot app is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(super) kind: String,
    pub(super) event: Event,
}

/// Which of the things that happen to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Creation,
    Deletion,
    /// One of its properties.
    Change(String),
}

impl Subscription {
    /// Reads `contact.creation`, `contact.deletion`, `contact.propertyChange:email`, or the same of an object of the
    /// account's own, whose type stands by its number: `2-3465404.creation`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (kind, event) = text.split_once('.').unwrap_or((text, ""));
        if !KINDS.iter().any(|known| known.0 == kind) && !own_type(kind) {
            let names: Vec<_> = KINDS.iter().map(|known| known.0).collect();
            let names = names.join(", ");
            return Err(format!(
                "begins with one of {names}, or a type's number such as 2-3465404"
            ));
        }
        let kind = kind.to_owned();
        let property = event.strip_prefix("propertyChange:").filter(|name| {
            let mut letters = name.chars();
            (1..=100).contains(&name.len())
                && letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        });
        let event = match (event, property) {
            ("creation", _) => Event::Creation,
            ("deletion", _) => Event::Deletion,
            (_, Some(name)) => Event::Change(name.to_owned()),
            (_, None) => {
                let all = [".creation", ".deletion", ".propertyChange:<property>"];
                let all = all.map(|event| format!("{kind}{event}")).join(" or ");
                return Err(format!("say {all}"));
            }
        };
        Ok(Self { kind, event })
    }
}

/// Whether it is the number of a type that an account has made for itself.
fn own_type(kind: &str) -> bool {
    let number = kind.strip_prefix("2-").unwrap_or_default();
    (1..=20).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// What a change tells of: the same whether a webhook says it or a look finds it. None where a look could not find it.
pub(crate) fn about(item: &Value) -> Option<String> {
    let text = |name: &str| item.get(name).and_then(Value::as_str);
    let (mut kind, event) = text("subscriptionType")?.split_once('.')?;
    if kind == "object" {
        let id = text("objectTypeId")?;
        let known = KINDS.iter().find(|known| known.2 == id).map(|known| known.0);
        kind = known.or(own_type(id).then_some(id))?;
    }
    let object = item.get("objectId").and_then(Value::as_i64)?;
    let at = || item.get("occurredAt").and_then(Value::as_i64);
    match event {
        "creation" => Some(format!("{kind}.creation:{object}")),
        // What is deleted can be restored, and deleted once more.
        "deletion" => {
            let minute = at()?.div_euclid(SAME_DELETION);
            Some(format!("{kind}.deletion:{object}:{minute}"))
        }
        "propertyChange" => {
            let (property, at) = (text("propertyName")?, at()?);
            Some(format!("{kind}.propertyChange:{object}:{property}:{at}"))
        }
        _ => None,
    }
}

/// The same deletion, told with a moment that falls into the minute before or after. Nothing else has two moments.
pub(crate) fn nearby(about: &str) -> Option<[String; 2]> {
    let (deleted, minute) = about.rsplit_once(':')?;
    let (_, event) = deleted.split_once(':')?.0.split_once('.')?;
    let minute: i64 = minute.parse().ok().filter(|_| event == "deletion")?;
    let next = [minute.checked_sub(1)?, minute.checked_add(1)?];
    Some(next.map(|minute| format!("{deleted}:{minute}")))
}

/// What is wanted of a kind of object.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) creation: bool,
    pub(super) deletion: bool,
    pub(super) properties: BTreeSet<String>,
}

impl Wanted {
    /// Whether it is found by searching for what was modified.
    pub(super) fn searched(&self) -> bool {
        self.creation || !self.properties.is_empty()
    }
}

/// What is wanted, by kind.
pub(super) fn wanted(subscriptions: &[String]) -> BTreeMap<String, Wanted> {
    let mut all: BTreeMap<String, Wanted> = BTreeMap::new();
    for subscription in subscriptions.iter().filter_map(|text| Subscription::parse(text).ok()) {
        let wanted = all.entry(subscription.kind).or_default();
        match subscription.event {
            Event::Creation => wanted.creation = true,
            Event::Deletion => wanted.deletion = true,
            Event::Change(property) => {
                wanted.properties.insert(property);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_app_can_be_subscribed_to_is_told_by_its_words() {
        let read = |text: &str| Subscription::parse(text).unwrap();

        assert_eq!(read("contact.propertyChange:email").event, Event::Change("email".into()));
        assert_eq!(read("deal.creation").kind, "deal");
        assert_eq!(read("2-346.creation").kind, "2-346");
        assert_eq!(read("ticket.deletion").event, Event::Deletion);
        for wrong in [
            "",
            "contact",
            "contact.",
            "lead.creation",
            "2-.creation",
            "2-3/../4.creation",
            "0-1.creation",
            "contact.privacyDeletion",
            "contact.propertyChange:",
        ] {
            assert!(Subscription::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_deletion_is_told_by_its_minute_and_one_after_a_restoration_is_another() {
        let deleted = |at: i64| {
            about(
                &json!({ "subscriptionType": "contact.deletion", "objectId": 7, "occurredAt": at }),
            )
        };

        assert_eq!(deleted(600_001), deleted(600_999));
        assert_ne!(deleted(600_001), deleted(660_001));
        assert_eq!(deleted(600_001).as_deref(), Some("contact.deletion:7:10"));
        let forgotten = json!({ "subscriptionType": "contact.privacyDeletion", "objectId": 7, "occurredAt": 1 });
        assert_eq!(about(&forgotten), None);
        let around = ["contact.deletion:7:9", "contact.deletion:7:11"].map(str::to_owned);
        assert_eq!(nearby("contact.deletion:7:10"), Some(around));
        for other in ["contact.creation:7", "contact.propertyChange:7:email:10", "", "a:b:c"] {
            assert_eq!(nearby(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_change_breaks_the_reader(
            text in "[a-z.:A-Z]{0,40}",
            number in any::<i64>(),
            name in "\\PC{0,20}",
        ) {
            let _ = Subscription::parse(&text);
            for text in [text, format!("object.{name}"), "contact.deletion".into()] {
                let _ = about(&json!({ "subscriptionType": text, "objectId": number, "propertyName": name,
                    "occurredAt": number, "objectTypeId": name }));
            }
        }
    }
}
