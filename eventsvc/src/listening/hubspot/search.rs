//! The search itself: pages of what was modified, in the order in which it was, and what happened to each.

use chrono::{DateTime, Utc};
use http::Method;
use serde_json::{Map, Value, json};

use super::{KINDS, Position, Walk, Wanted, about};
use crate::listening::{Ask, Item, LookError, account::address};

/// Objects in one page of a search.
const PAGE: usize = 100;
/// Pages read in one look; the rest is read in the next, at once.
const MOST_PAGES: usize = 3;
/// A search shows no more than this, however it is paged.
const CEILING: usize = 10_000;
/// Objects whose history is read at once.
const HISTORIES: usize = 50;
/// What was modified may be found so much later.
const OVERLAP: i64 = 10 * 60;

/// An object that was found.
struct Object {
    id: i64,
    created_at: Option<DateTime<Utc>>,
    modified_ms: i64,
}

/// Which changes count.
#[derive(Clone, Copy)]
struct Window {
    from: DateTime<Utc>,
    until: DateTime<Utc>,
}

impl Window {
    fn has(self, at: DateTime<Utc>) -> bool {
        self.from <= at && at <= self.until
    }
}

/// Reads on in a kind of object; says whether that was all of it. The position is moved page by page.
pub(super) async fn walk(
    ask: &Ask,
    (kind, wanted): (&'static str, &Wanted),
    grace: chrono::Duration,
    position: &mut Position,
    items: &mut Vec<Item>,
) -> Result<bool, LookError> {
    let limit = ask.now - grace;
    let read_until = position.read_until.get(kind).copied().unwrap_or(position.begun_at);
    let from = read_until - chrono::Duration::seconds(OVERLAP);
    let window = Window { from: from.max(position.begun_at), until: limit };
    let portal = position.proof.account.clone();
    let mut walk = position
        .walks
        .get(kind)
        .copied()
        .unwrap_or(Walk { until: limit, at: from.timestamp_millis() });
    let (begun, mut after, mut last) = (walk.at, None::<usize>, walk.at);
    for page in 1.. {
        let (objects, next) = search(ask, kind, begun, after).await?;
        for part in objects.chunks(HISTORIES) {
            let found = changes(ask, (kind, wanted), part, window).await?;
            items.extend(found.into_iter().map(|change| change.item(&portal)));
        }
        last = objects.last().map_or(last, |object| object.modified_ms.max(last));
        let Some(next) = next else {
            position.read_until.insert(kind.into(), walk.until.max(read_until));
            position.walks.remove(kind);
            return Ok(true);
        };
        let shown = next >= CEILING;
        // Behind the last page that a search shows there is only what was modified in the same moment.
        walk.at = if shown && last == begun { begun + 1 } else { last };
        if walk.at > begun {
            position.walks.insert(kind.into(), walk);
        }
        if shown || page >= MOST_PAGES && last > begun {
            break;
        }
        after = Some(next);
    }
    Ok(false)
}

/// A page of what was modified since, and where the next begins.
async fn search(
    ask: &Ask,
    kind: &str,
    since: i64,
    after: Option<usize>,
) -> Result<(Vec<Object>, Option<usize>), LookError> {
    let modified = if kind == "contact" { "lastmodifieddate" } else { "hs_lastmodifieddate" };
    let mut body = json!({
        "filterGroups": [{ "filters": [
            { "propertyName": modified, "operator": "GTE", "value": since.to_string() }] }],
        "sorts": [{ "propertyName": modified, "direction": "ASCENDING" }],
        "properties": [modified],
        "limit": PAGE,
    });
    if let Some(after) = after {
        body["after"] = after.to_string().into();
    }
    let answer = post(ask, &format!("crm/v3/objects/{}/search", plural(kind)), &body).await?;
    let mut objects = Vec::new();
    for result in list(&answer, "results") {
        let time = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
        let modified: Option<DateTime<Utc>> =
            time(&result["properties"][modified]).or_else(|| time(&result["updatedAt"]));
        let (Some(id), Some(modified)) = (id(result), modified) else { continue };
        let created_at = time(&result["createdAt"]);
        objects.push(Object { id, created_at, modified_ms: modified.timestamp_millis() });
    }
    let next = answer.pointer("/paging/next/after");
    let next = next.and_then(|next| next.as_str().and_then(|text| text.parse().ok()));
    Ok((objects, next))
}

/// One thing that happened to an object.
pub(super) struct Change {
    pub kind: &'static str,
    pub object: i64,
    pub at: DateTime<Utc>,
    /// Which property, what it is now, and who changed it; none for a creation.
    pub property: Option<(String, Value, Value)>,
}

impl Change {
    /// As the webhook would have said it.
    pub(super) fn item(self, portal: &str) -> Item {
        let event = if self.property.is_some() { "propertyChange" } else { "creation" };
        let mut payload = json!({
            "subscriptionType": format!("{}.{event}", self.kind), "objectId": self.object,
            "occurredAt": self.at.timestamp_millis(), "portalId": portal.parse::<i64>().ok(), "recovered": true,
        });
        if let Some((name, value, source)) = self.property {
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

/// What happened to some objects within the window.
async fn changes(
    ask: &Ask,
    (kind, wanted): (&'static str, &Wanted),
    objects: &[Object],
    window: Window,
) -> Result<Vec<Change>, LookError> {
    let mut found = Vec::new();
    if wanted.creation {
        for object in objects {
            let created = object.created_at.filter(|at| window.has(*at));
            found.extend(created.map(|at| Change { kind, object: object.id, at, property: None }));
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
                    let property = Some((name.clone(), version["value"].clone(), source));
                    found.push(Change { kind, object, at, property });
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

fn plural(kind: &str) -> &'static str {
    KINDS.iter().find(|known| known.0 == kind).map_or("contacts", |known| known.1)
}

fn id(value: &Value) -> Option<i64> {
    value["id"].as_str()?.parse().ok()
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}
