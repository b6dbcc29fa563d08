//! How far a portal has been read.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::subscription::Wanted;
use crate::listening::account::Proof;

type Times = BTreeMap<String, DateTime<Utc>>;

/// How far it has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Position {
    #[serde(flatten)]
    pub proof: Proof,
    /// What happened before this is not new.
    pub begun_at: DateTime<Utc>,
    /// Everything of a kind that was modified before has been read.
    #[serde(default)]
    pub read_until: Times,
    /// Kinds that are being read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub walks: BTreeMap<String, Walk>,
    /// Everything of a kind that was deleted before has been read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub deleted_until: Times,
    /// Kinds whose deletions are being read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sweeps: BTreeMap<String, Sweep>,
    /// Kinds whose list of deletions is long, and until when it is not read again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rests: Times,
    /// Kinds that were added later, and since when what happens to them is new.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub searched_since: Times,
    /// The same of their deletions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub deleted_since: Times,
}

/// Reading a kind, page by page. What was being read when it was paged otherwise is read on from the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Walk {
    /// At its end, everything before this will have been read.
    pub until: DateTime<Utc>,
    /// When what comes next was last modified, in milliseconds.
    pub at: i64,
    /// With so much in that one millisecond that it is read by ids: the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
}

/// Reading the list of what was deleted of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sweep {
    /// At its end, everything that was deleted before this will have been read.
    pub until: DateTime<Utc>,
    /// Where the next page begins, in HubSpot's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Pages that have been read.
    #[serde(default)]
    pub pages: i32,
}

/// What is read of a kind by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Modified,
    Deleted,
}

impl Position {
    /// One that begins now.
    pub(super) fn begun(proof: Proof, now: DateTime<Utc>) -> Self {
        Self {
            proof,
            begun_at: now,
            read_until: Times::new(),
            walks: BTreeMap::new(),
            deleted_until: Times::new(),
            sweeps: BTreeMap::new(),
            rests: Times::new(),
            searched_since: Times::new(),
            deleted_since: Times::new(),
        }
    }

    /// What is to be read now, what was read longest ago first. What is being swept counts by when that was begun: a long list
    /// lets the others have their turn.
    pub(super) fn in_order(&self, now: DateTime<Utc>) -> Vec<(Part, String)> {
        let begun = self.walks.keys().filter(|kind| !self.read_until.contains_key(*kind));
        let modified = self.read_until.keys().chain(begun);
        let modified = modified.map(|kind| (Part::Modified, kind.clone()));
        let deleted = self.deleted_until.keys();
        let deleted =
            deleted.filter(|kind| self.rests.get(*kind).is_none_or(|until| *until <= now));
        let deleted = deleted.map(|kind| (Part::Deleted, kind.clone()));
        let mut all: Vec<_> = modified.chain(deleted).collect();
        let at = |part: Part, kind: &String| match self.sweeps.get(kind) {
            Some(sweep) if part == Part::Deleted => sweep.until,
            _ => self.until(part, kind),
        };
        all.sort_by_key(|(part, kind)| (at(*part, kind), kind.clone()));
        all
    }

    /// Since when what happens to a kind is new.
    pub(super) fn since(&self, part: Part, kind: &str) -> DateTime<Utc> {
        let times = match part {
            Part::Modified => &self.searched_since,
            Part::Deleted => &self.deleted_since,
        };
        times.get(kind).copied().unwrap_or(self.begun_at)
    }

    /// Until when all of a part of a kind has been read.
    pub(super) fn until(&self, part: Part, kind: &str) -> DateTime<Utc> {
        let times = match part {
            Part::Modified => &self.read_until,
            Part::Deleted => &self.deleted_until,
        };
        times.get(kind).copied().unwrap_or(self.begun_at)
    }

    /// What an edit brings begins now, as if it had never been wanted before.
    pub(super) fn want(&mut self, all: &BTreeMap<String, Wanted>, now: DateTime<Utc>) {
        let searched = |kind: &String| all.get(kind).is_some_and(Wanted::searched);
        let deleted = |kind: &String| all.get(kind).is_some_and(|wanted| wanted.deletion);
        self.read_until.retain(|kind, _| searched(kind));
        self.walks.retain(|kind, _| searched(kind));
        self.deleted_until.retain(|kind, _| deleted(kind));
        self.sweeps.retain(|kind, _| deleted(kind));
        self.rests.retain(|kind, _| deleted(kind));
        self.searched_since.retain(|kind, _| searched(kind));
        self.deleted_since.retain(|kind, _| deleted(kind));
        let begun_at = self.begun_at;
        let begin = |until: &mut Times, since: &mut Times, kind: &String| {
            if !until.contains_key(kind) {
                until.insert(kind.clone(), now);
                if now > begun_at {
                    since.insert(kind.clone(), now);
                }
            }
        };
        for kind in all.keys() {
            if searched(kind) && !self.walks.contains_key(kind) {
                begin(&mut self.read_until, &mut self.searched_since, kind);
            }
            if deleted(kind) {
                begin(&mut self.deleted_until, &mut self.deleted_since, kind);
            }
        }
    }

    /// Nothing is read any more.
    pub(super) fn rest(&mut self) {
        self.want(&BTreeMap::new(), self.begun_at);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::subscription::wanted, *};

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn all(texts: &[&str]) -> BTreeMap<String, Wanted> {
        wanted(&texts.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn a_kind_that_is_added_begins_when_it_is_first_seen_and_one_that_left_is_forgotten() {
        let (begun, read, now) = (
            time("2026-01-01T00:00:00Z"),
            time("2026-02-01T00:00:00Z"),
            time("2026-03-01T00:00:00Z"),
        );
        let proof = Proof { account: "1".into(), proven_at: begun, app: None };
        let mut position = Position {
            read_until: BTreeMap::from([("contact".into(), read), ("deal".into(), read)]),
            walks: BTreeMap::from([("company".into(), Walk { until: read, at: 1, after: None })]),
            deleted_until: BTreeMap::from([("deal".into(), read)]),
            sweeps: BTreeMap::from([("deal".into(), Sweep { until: read, after: None, pages: 0 })]),
            ..Position::begun(proof, begun)
        };

        let more = ["contact.creation", "ticket.creation", "company.creation", "contact.deletion"];
        position.want(&all(&more), now);
        let known = BTreeMap::from([("contact".into(), read), ("ticket".into(), now)]);
        assert_eq!((&position.read_until, position.walks.len()), (&known, 1));
        assert_eq!(position.deleted_until, BTreeMap::from([("contact".into(), now)]));
        assert!(position.sweeps.is_empty());
        // What happened to it before is not new, however far a look reaches back.
        assert_eq!(position.since(Part::Deleted, "contact"), now);
        assert_eq!(position.since(Part::Modified, "contact"), begun);
        assert_eq!(position.since(Part::Modified, "ticket"), now);
        // What was never read comes first, then what was read longest ago.
        let order = position.in_order(now);
        let names: Vec<_> = order.iter().map(|(part, kind)| (*part, kind.as_str())).collect();
        assert_eq!(names[..2], [(Part::Modified, "company"), (Part::Modified, "contact")]);

        position.want(&all(&["deal.creation"]), now);
        assert_eq!(position.read_until, BTreeMap::from([("deal".into(), now)]));
        assert!(position.walks.is_empty() && position.deleted_until.is_empty());
        position.want(&all(&["deal.deletion"]), now);
        assert!(position.read_until.is_empty());
        assert_eq!(position.in_order(now), [(Part::Deleted, "deal".to_owned())]);
    }

    #[test]
    fn a_long_list_of_deletions_lets_the_search_have_its_turn_and_rests_when_it_is_over() {
        let (begun, now) = (time("2026-01-01T00:00:00Z"), time("2026-01-01T01:00:00Z"));
        let proof = Proof { account: "1".into(), proven_at: begun, app: None };
        let later = now + chrono::Duration::minutes(1);
        let mut position = Position {
            read_until: BTreeMap::from([("deal".into(), now)]),
            deleted_until: BTreeMap::from([("deal".into(), begun)]),
            sweeps: BTreeMap::from([(
                "deal".into(),
                Sweep { until: later, after: None, pages: 9 },
            )]),
            ..Position::begun(proof, begun)
        };
        let first = |position: &Position| position.in_order(later).first().map(|(part, _)| *part);

        assert_eq!(first(&position), Some(Part::Modified));
        position.sweeps.clear();
        assert_eq!(first(&position), Some(Part::Deleted));
        position.rests.insert("deal".into(), later + chrono::Duration::seconds(1));
        assert_eq!(position.in_order(later), [(Part::Modified, "deal".to_owned())]);
    }

    #[test]
    fn a_position_of_before_deletions_were_read_is_gone_on_from() {
        let text = r#"{"account":"1","proven_at":"2026-01-01T00:00:00Z","begun_at":"2026-01-01T00:00:00Z",
            "read_until":{"contact":"2026-01-02T00:00:00Z"}}"#;

        let position: Position = serde_json::from_str(text).unwrap();

        let order = position.in_order(position.begun_at);
        assert_eq!(order, [(Part::Modified, "contact".to_owned())]);
        assert!(!serde_json::to_string(&position).unwrap().contains("deleted_until"));
    }
}
