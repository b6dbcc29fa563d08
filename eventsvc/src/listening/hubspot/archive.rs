//! Deletions: a search finds nothing of what was deleted, but HubSpot lists it, for the 90 days in which it can be restored.
//! The list can be neither narrowed nor sorted by time, so all of it is read each time, and what was deleted since the time
//! before is picked out of it; the longer it is, the more seldom. What was wiped for good stands in no list.

use chrono::{DateTime, Utc};
use http::Method;
use serde_json::Value;

use super::{
    change::{Change, What},
    position::{Part, Position, Sweep},
    search::{Window, id, list, plural},
    subscription::Wanted,
};
use crate::listening::{Ask, Item, LookError, account::address};

/// Objects in one page: as many as HubSpot gives.
const PAGE: usize = 100;
/// What is enough for one look; the rest is read in the next, at once.
const MOST_ITEMS: usize = 1000;
/// What was deleted may stand in the list so much later.
const OVERLAP: i64 = 10 * 60;
/// For each page but the last, how long the list is not read again.
const REST: chrono::Duration = chrono::Duration::minutes(1);
const LONGEST_REST: chrono::Duration = chrono::Duration::hours(1);
/// HubSpot's words for where a page begins are a few letters.
const LONGEST_PLACE: usize = 500;

/// Reads on in what was deleted of a kind; says whether that was all of it. The position is moved page by page.
///
/// HubSpot tells a page by the last object of the one before. What is deleted while the list is being read was deleted after
/// the reading began, and is the next one's to find, wherever it stands. What was made and deleted between two looks is in no
/// search: that it was made is told from here as well.
pub(super) async fn sweep(
    ask: &Ask,
    (kind, wanted): (&str, &Wanted),
    grace: chrono::Duration,
    position: &mut Position,
    items: &mut Vec<Item>,
) -> Result<bool, LookError> {
    let read_until = position.until(Part::Deleted, kind);
    let begun = Sweep { until: ask.now - grace, after: None, pages: 0 };
    let mut sweep = position.sweeps.get(kind).cloned().unwrap_or(begun);
    let from = read_until - chrono::Duration::seconds(OVERLAP);
    let window = Window { from: from.max(position.since(Part::Deleted, kind)), until: sweep.until };
    let portal = position.proof.account.clone();
    loop {
        let (deleted, next) = match page(ask, kind, sweep.after.as_deref()).await {
            Ok(page) => page,
            Err(error) => return Err(broken(position, kind, error)),
        };
        items.extend(
            deleted
                .into_iter()
                .flat_map(|object| object.changes(kind, wanted))
                .filter(|change| window.has(change.at))
                .map(|change| change.item(&portal)),
        );
        let Some(next) = next else {
            position.deleted_until.insert(kind.into(), sweep.until.max(read_until));
            position.sweeps.remove(kind);
            let rest = (REST * sweep.pages).min(LONGEST_REST);
            position.rests.insert(kind.into(), ask.now + rest);
            return Ok(true);
        };
        if sweep.after.as_ref() == Some(&next) {
            let why = "HubSpot shows the same page of what was deleted again".into();
            return Err(broken(position, kind, LookError::Never(why)));
        }
        sweep.after = Some(next);
        sweep.pages += 1;
        position.sweeps.insert(kind.into(), sweep.clone());
        if !ask.has_time() || items.len() >= MOST_ITEMS {
            return Ok(false);
        }
    }
}

/// Where HubSpot knows nothing of the place in the list any more, the list is read from its beginning.
fn broken(position: &mut Position, kind: &str, error: LookError) -> LookError {
    if matches!(error, LookError::Never(_)) {
        position.sweeps.remove(kind);
    }
    error
}

/// An object that was deleted.
struct Deleted {
    id: i64,
    created_at: Option<DateTime<Utc>>,
    at: DateTime<Utc>,
}

impl Deleted {
    fn changes(self, kind: &str, wanted: &Wanted) -> impl Iterator<Item = Change> {
        let kind = kind.to_owned();
        let made = self.created_at.filter(|_| wanted.creation).map(|at| (at, What::Created));
        let all = made.into_iter().chain([(self.at, What::Deleted)]);
        all.map(move |(at, what)| Change { kind: kind.clone(), object: self.id, at, what })
    }
}

type Page = (Vec<Deleted>, Option<String>);

/// A page of what was deleted, and where the next one begins.
async fn page(ask: &Ask, kind: &str, after: Option<&str>) -> Result<Page, LookError> {
    let path = format!("crm/v3/objects/{}", plural(kind));
    let mut url = address(&ask.providers.hubspot, &path)?;
    url.query_pairs_mut().append_pair("archived", "true").append_pair("limit", &PAGE.to_string());
    if let Some(after) = after {
        url.query_pairs_mut().append_pair("after", after);
    }
    let answer = ask.api(Method::GET, url, None).await?;
    let answer = answer.ok_or_else(|| LookError::Never(format!("HubSpot knows no `{path}`")))?;
    let mut deleted = Vec::new();
    for result in list(&answer, "results") {
        let time = |name: &str| result[name].as_str().and_then(|at| at.parse().ok());
        let (Some(id), Some(at)) = (id(result), time("archivedAt")) else {
            let why = "HubSpot lists what was deleted without an id or a time";
            return Err(LookError::Never(why.into()));
        };
        deleted.push(Deleted { id, created_at: time("createdAt"), at });
    }
    let next = answer.pointer("/paging/next/after").and_then(Value::as_str);
    match next {
        Some(next) if next.len() > LONGEST_PLACE => {
            Err(LookError::Never("HubSpot does not say where the next page begins".into()))
        }
        next => Ok((deleted, next.map(ToOwned::to_owned))),
    }
}
