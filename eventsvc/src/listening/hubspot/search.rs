//! The search itself: pages of what was modified, in the order in which it was, and what happened to each.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use http::Method;
use serde_json::{Value, json};

use super::{
    change::{Change, What},
    position::{Part, Position, Walk},
    subscription::{KINDS, Wanted},
};
use crate::listening::{Ask, Item, LookError, account::address};

/// Objects in one page of a search: as many as a history is read of at once.
const PAGE: usize = 50;
/// What is enough for one look; the rest is read in the next, at once.
const MOST_ITEMS: usize = 1000;
/// By what objects are told apart, everywhere.
const ID: &str = "hs_object_id";
/// What was modified may be found so much later.
const OVERLAP: i64 = 10 * 60;

/// An object that was found.
struct Object {
    id: i64,
    created_at: Option<DateTime<Utc>>,
    modified_ms: i64,
}

impl Object {
    /// The same object, modified once more, is to be looked at once more.
    fn key(&self) -> (i64, i64) {
        (self.id, self.modified_ms)
    }
}

/// Which changes count.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub from: DateTime<Utc>,
    pub until: DateTime<Utc>,
}

impl Window {
    pub(super) fn has(self, at: DateTime<Utc>) -> bool {
        self.from <= at && at <= self.until
    }
}

/// Reads on in a kind of object; says whether that was all of it. The position is moved page by page.
///
/// Pages are told by what they begin with, never by a number: an object that is modified meanwhile moves to the end, and
/// hides nothing. Where more than a page was modified in one millisecond, that millisecond is read by the objects' ids.
pub(super) async fn walk(
    ask: &Ask,
    (kind, wanted): (&str, &Wanted),
    grace: chrono::Duration,
    position: &mut Position,
    items: &mut Vec<Item>,
) -> Result<bool, LookError> {
    let limit = ask.now - grace;
    let read_until = position.until(Part::Modified, kind);
    let from = read_until - chrono::Duration::seconds(OVERLAP);
    let window = Window { from: from.max(position.since(Part::Modified, kind)), until: limit };
    let portal = position.proof.account.clone();
    let begun = Walk { until: limit, at: from.timestamp_millis(), after: None };
    let mut walk = position.walks.get(kind).copied().unwrap_or(begun);
    let mut seen = HashSet::new();
    loop {
        let objects = search(ask, kind, walk).await?;
        let next = walk.behind(&objects)?;
        // The last of a page stands at the beginning of the next as well.
        let new: Vec<Object> = objects.into_iter().filter(|one| seen.insert(one.key())).collect();
        let found = changes(ask, (kind, wanted), &new, window).await?;
        items.extend(found.into_iter().map(|change| change.item(&portal)));
        let Some(next) = next else {
            position.read_until.insert(kind.into(), walk.until.max(read_until));
            position.walks.remove(kind);
            return Ok(true);
        };
        walk = next;
        position.walks.insert(kind.into(), walk);
        if !ask.has_time() || items.len() >= MOST_ITEMS {
            return Ok(false);
        }
    }
}

impl Walk {
    /// Where to read on behind a page; nowhere when it was the last.
    fn behind(self, page: &[Object]) -> Result<Option<Self>, LookError> {
        let again =
            || LookError::Later("HubSpot shows what comes before as what comes next".into(), None);
        let full = page.len() >= PAGE;
        let Some(last) = page.last().filter(|_| full) else {
            // All of that moment: on with the next.
            return Ok(self.after.map(|_| Self { at: self.at + 1, after: None, ..self }));
        };
        match self.after {
            Some(id) if last.id > id => Ok(Some(Self { after: Some(last.id), ..self })),
            None if last.modified_ms > self.at => Ok(Some(Self { at: last.modified_ms, ..self })),
            None if last.modified_ms == self.at => Ok(Some(Self { after: Some(0), ..self })),
            _ => Err(again()),
        }
    }
}

/// A page of what was modified.
async fn search(ask: &Ask, kind: &str, walk: Walk) -> Result<Vec<Object>, LookError> {
    let modified = if kind == "contact" { "lastmodifieddate" } else { "hs_lastmodifieddate" };
    let at = walk.at.to_string();
    let (filters, sort) = match walk.after {
        None => (json!([{ "propertyName": modified, "operator": "GTE", "value": at }]), modified),
        Some(id) => (
            json!([{ "propertyName": modified, "operator": "EQ", "value": at },
                   { "propertyName": ID, "operator": "GT", "value": id.to_string() }]),
            ID,
        ),
    };
    let body = json!({
        "filterGroups": [{ "filters": filters }],
        "sorts": [{ "propertyName": sort, "direction": "ASCENDING" }],
        "properties": [modified],
        "limit": PAGE,
    });
    let answer = post(ask, &format!("crm/v3/objects/{}/search", plural(kind)), &body).await?;
    let mut objects = Vec::new();
    for result in list(&answer, "results") {
        let time = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
        let modified: Option<DateTime<Utc>> =
            time(&result["properties"][modified]).or_else(|| time(&result["updatedAt"]));
        let (Some(id), Some(modified)) = (id(result), modified) else {
            return Err(LookError::Never("HubSpot finds an object without an id or a time".into()));
        };
        let created_at = time(&result["createdAt"]);
        objects.push(Object { id, created_at, modified_ms: modified.timestamp_millis() });
    }
    Ok(objects)
}

/// What happened to some objects within the window.
async fn changes(
    ask: &Ask,
    (kind, wanted): (&str, &Wanted),
    objects: &[Object],
    window: Window,
) -> Result<Vec<Change>, LookError> {
    let mut found = Vec::new();
    if wanted.creation {
        for object in objects {
            let created = object.created_at.filter(|at| window.has(*at));
            found.extend(created.map(|at| Change {
                kind: kind.into(),
                object: object.id,
                at,
                what: What::Created,
            }));
        }
    }
    if !wanted.properties.is_empty() && !objects.is_empty() {
        let ids: Vec<Value> =
            objects.iter().map(|object| json!({ "id": object.id.to_string() })).collect();
        let body =
            json!({ "inputs": ids, "properties": [], "propertiesWithHistory": wanted.properties });
        let path = format!("crm/v3/objects/{}/batch/read", plural(kind));
        let answer = post(ask, &path, &body).await?;
        for result in list(&answer, "results") {
            let Some(object) = id(result) else { continue };
            for name in &wanted.properties {
                for version in list(&result["propertiesWithHistory"], name) {
                    let at = version["timestamp"].as_str().and_then(|at| at.parse().ok());
                    let Some(at) = at.filter(|at| window.has(*at)) else { continue };
                    let source = version["sourceType"].clone();
                    let what = What::Changed(name.clone(), version["value"].clone(), source);
                    found.push(Change { kind: kind.into(), object, at, what });
                }
            }
        }
    }
    found.sort_by_key(|change| change.at);
    Ok(found)
}

async fn post(ask: &Ask, path: &str, body: &Value) -> Result<Value, LookError> {
    let url = address(&ask.providers.hubspot, path)?;
    let answer = ask.api(Method::POST, url, Some(body)).await?;
    answer.ok_or_else(|| LookError::Never(format!("HubSpot knows no `{path}`")))
}

/// In paths; a kind of the account's own stands there by its number.
pub(super) fn plural(kind: &str) -> &str {
    KINDS.iter().find(|known| known.0 == kind).map_or(kind, |known| known.1)
}

pub(super) fn id(value: &Value) -> Option<i64> {
    value["id"].as_str()?.parse().ok()
}

pub(super) fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}
