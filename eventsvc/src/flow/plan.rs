//! What of a trigger's queue may fire now. Pure: the same queue at the same time gives the same answer.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Duration, Utc};
use shared_models::EventId;

use super::options::Flow;

/// A batch is complete when it holds so many bytes, whatever it says itself: it travels with its event.
pub(super) const BATCH_BYTES: usize = 200 * 1024;

/// A firing that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub event_id: EventId,
    pub key: String,
    pub received_at: DateTime<Utc>,
    pub bytes: usize,
}

/// Firings that fire as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// The one whose event is sent.
    pub lead: EventId,
    /// All that go along, the lead included, in the order in which they came.
    pub members: Vec<EventId>,
    pub key: String,
}

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub fire: Vec<Unit>,
    /// When the rate will be used up no more.
    pub busy_until: Option<DateTime<Utc>>,
    /// When there may be more to do, as far as time alone decides.
    pub again_at: Option<DateTime<Utc>>,
    /// Nothing more fires before then, whatever else is in the queue.
    pub rate_is_used_up: bool,
}

/// Decides. `queue` is in the order of arrival; `running` counts what has started and not ended, by key.
pub(crate) fn plan(
    flow: &Flow,
    queue: &[Waiting],
    running: &HashMap<String, u32>,
    busy_until: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Plan {
    let mut plan = Plan { busy_until, ..Plan::default() };
    let mut running = running.clone();
    for unit in units(flow, queue, now, &mut plan.again_at) {
        let started = running.entry(unit.key.clone()).or_default();
        if flow.concurrency.is_some_and(|most| *started >= most) {
            continue;
        }
        if let Some(rate) = flow.rate {
            let span = Duration::seconds(rate.per_seconds.into());
            let one = span / i32::try_from(rate.limit).unwrap_or(i32::MAX);
            let until = plan.busy_until.map_or(now, |until| until.max(now)) + one;
            if until - now > span {
                earlier(&mut plan.again_at, until - span);
                plan.rate_is_used_up = true;
                break;
            }
            plan.busy_until = Some(until);
        }
        *started += 1;
        plan.fire.push(unit);
    }
    plan
}

/// What is complete by now, in the order of its first member.
fn units(
    flow: &Flow,
    queue: &[Waiting],
    now: DateTime<Utc>,
    again_at: &mut Option<DateTime<Utc>>,
) -> Vec<Unit> {
    let single = |one: &Waiting| Unit {
        lead: one.event_id,
        members: vec![one.event_id],
        key: one.key.clone(),
    };
    if flow.debounce_seconds.is_none() && flow.batch.is_none() {
        return queue.iter().map(single).collect();
    }
    let mut by_key: BTreeMap<&str, Vec<&Waiting>> = BTreeMap::new();
    for one in queue {
        by_key.entry(&one.key).or_default().push(one);
    }
    let mut complete: Vec<(EventId, Unit)> = Vec::new();
    for waiting in by_key.into_values() {
        let found = match (flow.debounce_seconds, flow.batch) {
            (Some(seconds), _) => quiet(&waiting, seconds, now, again_at).into_iter().collect(),
            (None, Some(batch)) => batches(&waiting, (batch.max, batch.seconds), now, again_at),
            (None, None) => Vec::new(),
        };
        complete.extend(found.into_iter().map(|unit| (unit.members[0], unit)));
    }
    complete.sort_by_key(|(first, _)| *first);
    complete.into_iter().map(|(_, unit)| unit).collect()
}

/// All of a key as one, led by the last, when nothing has come for a while.
fn quiet(
    waiting: &[&Waiting],
    seconds: u32,
    now: DateTime<Utc>,
    again_at: &mut Option<DateTime<Utc>>,
) -> Option<Unit> {
    // By the order of their ids: times follow the database's clock, and a correction may turn two of them round.
    let last = waiting.iter().max_by_key(|one| one.event_id)?;
    let latest = waiting.iter().map(|one| one.received_at).max()?;
    let at = latest + Duration::seconds(seconds.into());
    if at > now {
        earlier(again_at, at);
        return None;
    }
    let members = waiting.iter().map(|one| one.event_id).collect();
    Some(Unit { lead: last.event_id, members, key: last.key.clone() })
}

/// Batches of a key, each led by its first.
fn batches(
    waiting: &[&Waiting],
    (most, seconds): (u32, u32),
    now: DateTime<Utc>,
    again_at: &mut Option<DateTime<Utc>>,
) -> Vec<Unit> {
    let mut units = Vec::new();
    let mut rest = waiting;
    while let Some(first) = rest.first() {
        let mut bytes = 0;
        let fits = |one: &&&Waiting| {
            bytes += one.bytes;
            bytes <= BATCH_BYTES || one.event_id == first.event_id
        };
        let size = rest.iter().take(most as usize).take_while(fits).count();
        let full = size == most as usize || size < rest.len();
        let at = first.received_at + Duration::seconds(seconds.into());
        if !full && at > now {
            earlier(again_at, at);
            break;
        }
        let (members, later) = rest.split_at(size);
        let members = members.iter().map(|one| one.event_id).collect();
        units.push(Unit { lead: first.event_id, members, key: first.key.clone() });
        rest = later;
    }
    units
}

pub(super) fn earlier(present: &mut Option<DateTime<Utc>>, at: DateTime<Utc>) {
    *present = Some(present.map_or(at, |present| present.min(at)));
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
