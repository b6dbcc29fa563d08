//! HubSpot, as its documents say: objects with the history of their properties, searched in pages of what was modified, no
//! deeper than 10,000; what was deleted in a list of its own, in no order of time; webhooks in batches of up to 100, signed. It can be told to fail, and what it would send is the test's
//! to deliver, lose, double, delay or reorder.

use std::sync::{Arc, Mutex};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, SecondsFormat};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{Answer, Stub, Stubbed};

/// The token that may search the portal.
pub const HUBSPOT_TOKEN: &str = "pat-test";
/// The portal.
pub const HUBSPOT_PORTAL: i64 = 62515;
/// The most changes in one delivery.
pub const HUBSPOT_BATCH: usize = 100;
const DEEPEST: usize = 10_000;
const HISTORIES: usize = 50;

#[derive(Clone, Debug)]
struct Object {
    kind: String,
    id: i64,
    created: i64,
    modified: i64,
    /// When it was deleted. That modifies nothing.
    archived: Option<i64>,
    /// Property, value, when.
    history: Vec<(String, String, i64)>,
}

#[derive(Debug, Default)]
struct Portal {
    objects: Vec<Object>,
    events: i64,
    /// Answers to give before anything else.
    failing: Vec<u16>,
    /// Nobody answers.
    away: bool,
    searches: usize,
    /// Pages of deleted objects that were read.
    sweeps: usize,
    /// After so many searches, an object is modified at a moment.
    touching: Vec<(usize, i64, i64)>,
}

impl Portal {
    fn find(&mut self, id: i64) -> &mut Object {
        let found = self.objects.iter_mut().find(|object| object.id == id);
        found.expect("a contact that was made")
    }
}

/// A stand-in for HubSpot with one portal.
pub struct Hubspot {
    stub: Stub,
    portal: Arc<Mutex<Portal>>,
}

impl Hubspot {
    /// Starts it, with an empty portal.
    pub async fn start() -> Self {
        let portal = Arc::<Mutex<Portal>>::default();
        let state = portal.clone();
        let stub = Stub::start(move |request| {
            answer(&mut state.lock().expect("no poisoned lock"), request)
        })
        .await;
        Self { stub, portal }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        self.stub.url()
    }

    /// A contact is made; what the webhook would say is answered.
    pub fn create(&self, id: i64, millis: i64) -> Value {
        let mut portal = self.portal();
        portal.objects.push(object("contacts", id, millis));
        event(
            &mut portal,
            json!({ "subscriptionType": "contact.creation", "objectId": id, "occurredAt": millis }),
        )
    }

    /// An object of a type of the portal's own is made; what the webhook would say is answered.
    pub fn create_own(&self, type_id: &str, id: i64, millis: i64) -> Value {
        let mut portal = self.portal();
        portal.objects.push(object(type_id, id, millis));
        event(
            &mut portal,
            json!({ "subscriptionType": "object.creation", "objectTypeId": type_id, "objectId": id,
                "occurredAt": millis }),
        )
    }

    /// After so many more searches, somebody edits an object, at a moment.
    pub fn touch_after(&self, searches: usize, id: i64, millis: i64) {
        let mut portal = self.portal();
        let at = portal.searches + searches;
        portal.touching.push((at, id, millis));
    }

    /// A property of a contact changes; what the webhook would say is answered.
    pub fn set(&self, id: i64, property: &str, value: &str, millis: i64) -> Value {
        let mut portal = self.portal();
        let object = portal.find(id);
        object.history.push((property.into(), value.into(), millis));
        object.modified = object.modified.max(millis);
        event(
            &mut portal,
            json!({ "subscriptionType": "contact.propertyChange", "objectId": id, "propertyName": property,
                "propertyValue": value, "changeSource": "CRM_UI", "occurredAt": millis }),
        )
    }

    /// A contact is deleted; what the webhook would say is answered.
    pub fn delete(&self, id: i64, millis: i64) -> Value {
        let mut portal = self.portal();
        portal.find(id).archived = Some(millis);
        event(
            &mut portal,
            json!({ "subscriptionType": "contact.deletion", "objectId": id, "changeFlag": "DELETED",
                "changeSource": "CRM_UI", "occurredAt": millis }),
        )
    }

    /// A contact that was deleted is brought back.
    pub fn restore(&self, id: i64) {
        self.portal().find(id).archived = None;
    }

    /// How many pages of deleted objects were read.
    pub fn sweeps(&self) -> usize {
        self.portal().sweeps
    }

    /// The next requests are answered so; 200 is as usual.
    pub fn fail_with(&self, statuses: &[u16]) {
        self.portal().failing = statuses.iter().rev().copied().collect();
    }

    /// Whether it answers at all.
    pub fn set_away(&self, away: bool) {
        self.portal().away = away;
    }

    /// How often it was searched.
    pub fn searches(&self) -> usize {
        self.portal().searches
    }

    fn portal(&self) -> std::sync::MutexGuard<'_, Portal> {
        self.portal.lock().expect("no poisoned lock")
    }
}

/// The headers of a delivery to an address, signed with an app's secret at a moment in milliseconds.
pub fn hubspot_signature(
    secret: &str,
    url: &str,
    body: &str,
    millis: i64,
) -> [(&'static str, String); 2] {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key");
    let mac = mac.chain_update(format!("POST{url}{body}{millis}"));
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    [("x-hubspot-signature-v3", signature), ("x-hubspot-request-timestamp", millis.to_string())]
}

fn event(portal: &mut Portal, mut event: Value) -> Value {
    portal.events += 1;
    event["eventId"] = portal.events.into();
    event["subscriptionId"] = 7.into();
    event["portalId"] = HUBSPOT_PORTAL.into();
    event["appId"] = 1.into();
    event["attemptNumber"] = 0.into();
    event
}

fn answer(portal: &mut Portal, request: &Stubbed) -> Answer {
    if portal.away {
        return Answer::Reset;
    }
    if request.header("authorization") != format!("Bearer {HUBSPOT_TOKEN}") {
        return problem(401, "INVALID_AUTHENTICATION");
    }
    if let Some(status) = portal.failing.pop().filter(|status| *status != 200) {
        return problem(status, "RATE_LIMITS");
    }
    let body = request.json();
    let path: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    match (request.method.as_str(), path.as_slice()) {
        ("GET", ["account-info", "v3", "details"]) => {
            Answer::Json(200, json!({ "portalId": HUBSPOT_PORTAL, "timeZone": "UTC" }))
        }
        ("POST", ["crm", "v3", "objects", kind, "search"]) => {
            portal.searches += 1;
            let found = search(portal, kind, &body);
            touch(portal);
            found
        }
        ("GET", ["crm", "v3", "objects", kind]) => {
            portal.sweeps += 1;
            deleted(portal, kind, &request.query)
        }
        ("POST", ["crm", "v3", "objects", kind, "batch", "read"]) => histories(portal, kind, &body),
        _ => problem(404, "OBJECT_NOT_FOUND"),
    }
}

fn object(kind: &str, id: i64, millis: i64) -> Object {
    Object {
        kind: kind.into(),
        id,
        created: millis,
        modified: millis,
        archived: None,
        history: Vec::new(),
    }
}

fn touch(portal: &mut Portal) {
    let Portal { objects, searches, touching, .. } = portal;
    for (at, id, millis) in touching.iter() {
        let touched = objects.iter_mut().filter(|object| at == searches && object.id == *id);
        touched.for_each(|object| object.modified = object.modified.max(*millis));
    }
}

/// What an object's property is, of those that are searched by.
fn number(object: &Object, property: &str) -> i64 {
    if property == "hs_object_id" { object.id } else { object.modified }
}

fn search(portal: &Portal, kind: &str, body: &Value) -> Answer {
    let modified = if kind == "contacts" { "lastmodifieddate" } else { "hs_lastmodifieddate" };
    let known = |name: &str| name == modified || name == "hs_object_id";
    let mut filters = Vec::new();
    for filter in body["filterGroups"][0]["filters"].as_array().into_iter().flatten() {
        let text = |name: &str| filter[name].as_str().unwrap_or_default();
        let (property, operator) = (text("propertyName"), text("operator"));
        let compares: fn(&i64, &i64) -> bool = match operator {
            "GTE" => i64::ge,
            "GT" => i64::gt,
            "EQ" => i64::eq,
            _ => return problem(400, "VALIDATION_ERROR"),
        };
        match text("value").parse::<i64>() {
            Ok(value) if known(property) => filters.push((property.to_owned(), compares, value)),
            _ => return problem(400, "VALIDATION_ERROR"),
        }
    }
    let sort = body["sorts"][0]["propertyName"].as_str().unwrap_or_default();
    if filters.is_empty() || !known(sort) || body["sorts"].as_array().map(Vec::len) != Some(1) {
        return problem(400, "VALIDATION_ERROR");
    }
    let limit = body["limit"].as_u64().and_then(|limit| usize::try_from(limit).ok()).unwrap_or(10);
    let after = body["after"].as_str().map_or(Some(0), |after| after.parse::<usize>().ok());
    let (Some(after), 1..=200) = (after, limit) else { return problem(400, "VALIDATION_ERROR") };
    if after + limit > DEEPEST {
        return problem(400, "VALIDATION_ERROR");
    }
    let mut found: Vec<&Object> = portal
        .objects
        .iter()
        .filter(|object| object.kind == kind && object.archived.is_none())
        .filter(|object| {
            filters.iter().all(|(name, compares, value)| compares(&number(object, name), value))
        })
        .collect();
    found.sort_by_key(|object| (number(object, sort), object.id));
    let page: Vec<Value> = found
        .iter()
        .skip(after)
        .take(limit)
        .map(|object| {
            json!({ "id": object.id.to_string(), "createdAt": time(object.created), "updatedAt": time(object.modified),
                "archived": false, "properties": { modified: time(object.modified) } })
        })
        .collect();
    let mut body = json!({ "total": found.len(), "results": page });
    if after + limit < found.len() {
        body["paging"] = json!({ "next": { "after": (after + limit).to_string() } });
    }
    Answer::Json(200, body)
}

/// What was deleted, by ids; a page begins behind the last object of the one before.
fn deleted(portal: &Portal, kind: &str, query: &str) -> Answer {
    let pairs: std::collections::BTreeMap<_, _> =
        url::form_urlencoded::parse(query.as_bytes()).collect();
    let number = |name: &str, usual: i64| pairs.get(name).map_or(Ok(usual), |at| at.parse::<i64>());
    let (Ok(limit @ 1..=100), Ok(after)) = (number("limit", 10), number("after", i64::MIN)) else {
        return problem(400, "VALIDATION_ERROR");
    };
    if pairs.get("archived").is_none_or(|archived| archived != "true") {
        return problem(400, "VALIDATION_ERROR");
    }
    let mut found: Vec<(&Object, i64)> = portal
        .objects
        .iter()
        .filter(|object| object.kind == kind && object.id > after)
        .filter_map(|object| Some((object, object.archived?)))
        .collect();
    found.sort_by_key(|(object, _)| object.id);
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let page: Vec<Value> = found
        .iter()
        .map(|(object, at)| {
            json!({ "id": object.id.to_string(), "createdAt": time(object.created), "updatedAt": time(object.modified),
                "archived": true, "archivedAt": time(*at), "properties": {} })
        })
        .collect();
    let mut body = json!({ "results": page });
    if let Some((last, _)) = found.last().filter(|_| more) {
        body["paging"] = json!({ "next": { "after": last.id.to_string(), "link": "?" } });
    }
    Answer::Json(200, body)
}

fn histories(portal: &Portal, kind: &str, body: &Value) -> Answer {
    let ids: Vec<i64> = body["inputs"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|input| input["id"].as_str()?.parse().ok())
        .collect();
    if ids.is_empty() || ids.len() > HISTORIES {
        return problem(400, "VALIDATION_ERROR");
    }
    let wanted: Vec<&str> = body["propertiesWithHistory"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let results: Vec<Value> = portal
        .objects
        .iter()
        .filter(|object| object.kind == kind && object.archived.is_none())
        .filter(|object| ids.contains(&object.id))
        .map(|object| {
            let mut histories = json!({});
            for name in &wanted {
                // The latest comes first.
                let versions = object.history.iter().rev().filter(|version| version.0 == *name);
                let versions: Vec<Value> = versions
                    .map(|(_, value, at)| {
                        json!({ "value": value, "timestamp": time(*at), "sourceType": "CRM_UI" })
                    })
                    .collect();
                histories[*name] = versions.into();
            }
            json!({ "id": object.id.to_string(), "propertiesWithHistory": histories })
        })
        .collect();
    Answer::Json(200, json!({ "status": "COMPLETE", "results": results }))
}

fn time(millis: i64) -> String {
    let at = DateTime::from_timestamp_millis(millis).expect("a time");
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn problem(status: u16, category: &str) -> Answer {
    let body = json!({ "status": "error", "category": category, "correlationId": "c" });
    match status {
        429 => Answer::Raw(429, vec![("retry-after".into(), "1".into())], body.to_string().into()),
        _ => Answer::Json(status, body),
    }
}
