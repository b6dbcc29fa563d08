//! Changes in HubSpot that its webhooks did not tell of: objects are searched for by when they were last modified, and
//! what changed about them is read from the history of their properties. What a webhook says as well is told by what it is
//! about (see [`about`]), so whichever comes second is a repetition.

mod search;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Ask, Listener, Look, LookError, Reconcile,
    account::{self, AppSource, Proof},
};
use crate::trigger::System;

const KINDS: [(&str, &str, &str); 6] = [
    // In subscriptions, in paths, and by HubSpot's own number.
    ("contact", "contacts", "0-1"),
    ("company", "companies", "0-2"),
    ("deal", "deals", "0-3"),
    ("ticket", "tickets", "0-5"),
    ("product", "products", "0-7"),
    ("line_item", "line_items", "0-8"),
];

/// What a HubSpot app is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    kind: String,
    /// None is the creation of an object.
    property: Option<String>,
}

impl Subscription {
    /// Reads `contact.creation`, `contact.propertyChange:email`, or the same of an object of the account's own, whose type
    /// stands by its number: `2-3465404.creation`.
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
        if event == "creation" {
            return Ok(Self { kind, property: None });
        }
        let property = event.strip_prefix("propertyChange:").filter(|name| {
            let mut letters = name.chars();
            (1..=100).contains(&name.len())
                && letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        });
        match property {
            Some(name) => Ok(Self { kind, property: Some(name.to_owned()) }),
            None => Err(format!("say {kind}.creation or {kind}.propertyChange:<property>")),
        }
    }
}

/// Whether it is the number of a type that an account has made for itself.
fn own_type(kind: &str) -> bool {
    let number = kind.strip_prefix("2-").unwrap_or_default();
    (1..=20).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// What a change tells of: the same whether a webhook says it or a search finds it. None where a search could not find it.
pub(crate) fn about(item: &Value) -> Option<String> {
    let text = |name: &str| item.get(name).and_then(Value::as_str);
    let (mut kind, event) = text("subscriptionType")?.split_once('.')?;
    if kind == "object" {
        let id = text("objectTypeId")?;
        let known = KINDS.iter().find(|known| known.2 == id).map(|known| known.0);
        kind = known.or(own_type(id).then_some(id))?;
    }
    let object = item.get("objectId").and_then(Value::as_i64)?;
    match event {
        "creation" => Some(format!("{kind}.creation:{object}")),
        "propertyChange" => {
            let (property, at) = (text("propertyName")?, item.get("occurredAt")?.as_i64()?);
            Some(format!("{kind}.propertyChange:{object}:{property}:{at}"))
        }
        _ => None,
    }
}

/// What of a source's options this listener reads.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Hubspot {
    #[serde(default)]
    app: Option<AppSource>,
    #[serde(default)]
    reconcile: Option<Reconcile>,
}

/// How far it has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Position {
    #[serde(flatten)]
    proof: Proof,
    /// What happened before this is not new.
    begun_at: DateTime<Utc>,
    /// Everything of a kind that was modified before has been read.
    #[serde(default)]
    read_until: BTreeMap<String, DateTime<Utc>>,
    /// Kinds that are being read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    walks: BTreeMap<String, Walk>,
}

impl Position {
    /// The kinds, the one that was read longest ago first.
    fn in_order(&self) -> Vec<String> {
        let kinds: BTreeSet<&String> = self.read_until.keys().chain(self.walks.keys()).collect();
        let mut kinds: Vec<String> = kinds.into_iter().cloned().collect();
        kinds.sort_by_key(|kind| self.read_until(kind));
        kinds
    }

    /// Until when everything of a kind has been read.
    fn read_until(&self, kind: &str) -> DateTime<Utc> {
        self.read_until.get(kind).copied().unwrap_or(self.begun_at)
    }

    /// A kind that an edit brings begins now, as if it had never been wanted before.
    fn want(&mut self, all: &BTreeMap<String, Wanted>, now: DateTime<Utc>) {
        self.read_until.retain(|kind, _| all.contains_key(kind));
        self.walks.retain(|kind, _| all.contains_key(kind));
        for kind in all.keys().filter(|kind| !self.walks.contains_key(*kind)) {
            self.read_until.entry(kind.clone()).or_insert(now);
        }
    }
}

/// Reading a kind, page by page. What was being read when it was paged otherwise is read on from the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Walk {
    /// At its end, everything before this will have been read.
    until: DateTime<Utc>,
    /// When what comes next was last modified, in milliseconds.
    at: i64,
    /// With so much in that one millisecond that it is read by ids: the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<i64>,
}

/// What is wanted of a kind of object.
#[derive(Clone, Debug, Default)]
struct Wanted {
    creation: bool,
    properties: BTreeSet<String>,
}

impl Hubspot {
    async fn look_now(&self, ask: &Ask, position: Option<&Value>) -> Result<Look, LookError> {
        let before: Option<Position> =
            position.and_then(|at| serde_json::from_value(at.clone()).ok());
        let claimed = self.app.as_ref().map(|app| app.account.as_str());
        let mut position = match before {
            Some(mut before) => {
                if account::due(Some(&before.proof), ask.now) {
                    before.proof = account::prove(ask, System::Hubspot, claimed).await?;
                }
                before
            }
            None => Position {
                proof: account::prove(ask, System::Hubspot, claimed).await?,
                begun_at: ask.now,
                read_until: BTreeMap::new(),
                walks: BTreeMap::new(),
            },
        };
        let mut look = Look::default();
        if let Some(reconcile) = &self.reconcile {
            self.reconcile(ask, reconcile, &mut position, &mut look).await?;
        } else {
            position.read_until.clear();
            position.walks.clear();
            look.again = Duration::from_secs(60 * 60);
        }
        look.position = serde_json::to_value(&position).unwrap_or_default();
        Ok(look)
    }

    /// What goes wrong on the way costs nothing of what was read until then.
    async fn reconcile(
        &self,
        ask: &Ask,
        reconcile: &Reconcile,
        position: &mut Position,
        look: &mut Look,
    ) -> Result<(), LookError> {
        look.again = Duration::from_secs(reconcile.interval_seconds.into());
        let all = wanted(&reconcile.subscriptions);
        position.want(&all, ask.now);
        let (begun, overdue) = (
            position.clone(),
            ask.now
                - reconcile.grace()
                - chrono::Duration::seconds(reconcile.interval_seconds.into()),
        );
        for kind in position.in_order() {
            let walk = (kind.as_str(), &all[&kind]);
            match search::walk(ask, walk, reconcile.grace(), position, &mut look.items).await {
                Ok(true) => {}
                Ok(false) => look.again = Duration::ZERO,
                Err(error) if *position == begun && look.items.is_empty() => return Err(error),
                Err(error) => {
                    look.failed = Some(error);
                    break;
                }
            }
            // Whoever is left begins the next look.
            if !ask.has_time()
                && position.in_order().iter().any(|kind| position.read_until(kind) < overdue)
            {
                look.again = Duration::ZERO;
                break;
            }
        }
        Ok(())
    }
}

/// What is wanted, by kind.
fn wanted(subscriptions: &[String]) -> BTreeMap<String, Wanted> {
    let mut all: BTreeMap<String, Wanted> = BTreeMap::new();
    for subscription in subscriptions.iter().filter_map(|text| Subscription::parse(text).ok()) {
        let wanted = all.entry(subscription.kind).or_default();
        match subscription.property {
            Some(property) => {
                wanted.properties.insert(property);
            }
            None => wanted.creation = true,
        }
    }
    all
}

impl Listener for Hubspot {
    fn look<'a>(
        &'a self,
        ask: &'a Ask,
        position: Option<&'a Value>,
    ) -> BoxFuture<'a, Result<Look, LookError>> {
        Box::pin(self.look_now(ask, position))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::{search::Change, *};

    #[test]
    fn a_webhook_and_a_search_tell_of_the_same_change_in_the_same_words() {
        let at: DateTime<Utc> = "2026-01-01T00:00:00.007Z".parse().unwrap();
        let property = Some(("email".to_owned(), json!("a@example.com"), json!("CRM_UI")));
        let found = Change { kind: "contact".into(), object: 7, at, property }.item("62515");
        let told = json!({ "eventId": 1, "subscriptionId": 2, "subscriptionType": "contact.propertyChange",
            "objectId": 7, "propertyName": "email", "propertyValue": "a@example.com",
            "occurredAt": at.timestamp_millis(), "attemptNumber": 3 });
        let newer =
            json!({ "subscriptionType": "object.creation", "objectTypeId": "0-1", "objectId": 7 });
        let created =
            |kind: &str| Change { kind: kind.into(), object: 7, at, property: None }.item("62515");
        let own = json!({ "subscriptionType": "object.creation", "objectTypeId": "2-346", "objectId": 7 });

        assert_eq!(about(&told), found.about);
        assert_eq!(found.about.as_deref(), Some("contact.propertyChange:7:email:1767225600007"));
        assert_eq!(about(&newer), created("contact").about);
        assert_eq!(about(&own), created("2-346").about);
        assert_eq!(about(&own).as_deref(), Some("2-346.creation:7"));
        for field in ["subscriptionType", "objectTypeId", "objectId"] {
            assert_eq!(created("2-346").payload[field], own[field], "{field}");
        }
        assert_eq!(found.payload["portalId"], 62515);
        assert_eq!(about(&json!({ "subscriptionType": "contact.deletion", "objectId": 7 })), None);
    }

    #[test]
    fn what_an_app_can_be_subscribed_to_is_told_by_its_words() {
        let email = Subscription::parse("contact.propertyChange:email").unwrap();

        assert_eq!(email.property.as_deref(), Some("email"));
        assert_eq!(Subscription::parse("deal.creation").unwrap().kind, "deal");
        assert_eq!(Subscription::parse("2-346.creation").unwrap().kind, "2-346");
        for wrong in [
            "",
            "contact",
            "contact.",
            "lead.creation",
            "2-.creation",
            "2-3/../4.creation",
            "0-1.creation",
            "contact.deletion",
            "contact.propertyChange:",
        ] {
            assert!(Subscription::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_kind_that_is_added_begins_when_it_is_first_seen_and_one_that_left_is_forgotten() {
        let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let (begun, read, now) = (
            time("2026-01-01T00:00:00Z"),
            time("2026-02-01T00:00:00Z"),
            time("2026-03-01T00:00:00Z"),
        );
        let all =
            |texts: &[&str]| wanted(&texts.iter().map(ToString::to_string).collect::<Vec<_>>());
        let mut position = Position {
            proof: Proof { account: "1".into(), proven_at: begun },
            begun_at: begun,
            read_until: BTreeMap::from([("contact".into(), read), ("deal".into(), read)]),
            walks: BTreeMap::from([("company".into(), Walk { until: read, at: 1, after: None })]),
        };

        position.want(&all(&["contact.creation", "ticket.creation", "company.creation"]), now);
        let known = BTreeMap::from([("contact".into(), read), ("ticket".into(), now)]);
        assert_eq!((&position.read_until, position.walks.len()), (&known, 1));

        position.want(&all(&["deal.creation"]), now);
        assert_eq!(position.read_until, BTreeMap::from([("deal".into(), now)]));
        assert!(position.walks.is_empty());
    }

    proptest! {
        #[test]
        fn no_change_breaks_the_reader(
            text in "[a-z.:A-Z]{0,40}",
            number in any::<i64>(),
            name in "\\PC{0,20}",
        ) {
            let _ = Subscription::parse(&text);
            let _ = about(&json!({ "subscriptionType": text, "objectId": number, "propertyName": name,
                "occurredAt": number, "objectTypeId": name }));
        }
    }
}
