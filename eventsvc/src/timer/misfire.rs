//! What to do about slots whose time has come, perhaps long ago.

use std::collections::VecDeque;

use chrono::{DateTime, Duration, Utc};
use shared_models::TriggerId;

use super::{
    options::Misfire,
    schedule::{Schedule, Slot},
};

/// The most slots one timer fires at once, and the most that `fire_all` makes up for.
pub(crate) const CAP: usize = 100;
/// Missed slots are counted one by one up to here.
const COUNTED: usize = 10_000;

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// These fire, in order.
    pub fire: Vec<Slot>,
    /// So many pass without.
    pub missed: i64,
    /// The slot to wait for.
    pub next: Option<Slot>,
}

/// Decides about everything that is due now, beginning with the slot at `first`.
///
/// Late by no more than the grace period is not missed: each slot fires. Otherwise the policy decides about all that has
/// piled up.
pub(crate) fn plan(
    schedule: &Schedule,
    trigger: TriggerId,
    first: DateTime<Utc>,
    now: DateTime<Utc>,
    (misfire, grace): (Misfire, Duration),
) -> Plan {
    let first = schedule.slot(trigger, first);
    if now - first.due <= grace {
        let mut slots = std::iter::once(first).chain(schedule.slots(trigger, first.at)).peekable();
        let mut fire = Vec::new();
        while fire.len() < CAP
            && let Some(slot) = slots.next_if(|slot| slot.due <= now)
        {
            fire.push(slot);
        }
        return Plan { fire, missed: 0, next: slots.next() };
    }
    let keep = if misfire == Misfire::FireAll { CAP } else { 1 };
    let (mut fire, passed, next) = backlog(schedule, trigger, first, now, keep);
    if misfire == Misfire::Skip {
        fire.retain(|slot| now - slot.due <= grace);
    }
    Plan { missed: (passed - fire.len()).try_into().unwrap_or(i64::MAX), fire: fire.into(), next }
}

/// The latest due slots, at most `keep`; how many there are; and the slot to wait for.
fn backlog(
    schedule: &Schedule,
    trigger: TriggerId,
    first: Slot,
    now: DateTime<Utc>,
    keep: usize,
) -> (VecDeque<Slot>, usize, Option<Slot>) {
    let all = std::iter::once(first).chain(schedule.slots(trigger, first.at));
    let walked = latest(all, now, keep, COUNTED);
    if walked.1 < COUNTED {
        return walked;
    }
    // Too many to walk through: look at longer and longer stretches before now.
    let mut stretch = Duration::minutes(1);
    loop {
        let since = (now - stretch).max(first.at);
        let (latest, seen, next) = latest(schedule.slots(trigger, since), now, keep, usize::MAX);
        if seen >= keep || since == first.at {
            return (latest, seen.max(COUNTED), next);
        }
        stretch = stretch * 4;
    }
}

fn latest(
    slots: impl Iterator<Item = Slot>,
    now: DateTime<Utc>,
    keep: usize,
    most: usize,
) -> (VecDeque<Slot>, usize, Option<Slot>) {
    let mut kept = VecDeque::with_capacity(keep);
    let mut seen = 0;
    for slot in slots {
        if slot.due > now {
            return (kept, seen, Some(slot));
        }
        if seen == most {
            break;
        }
        if kept.len() == keep {
            kept.pop_front();
        }
        kept.push_back(slot);
        seen += 1;
    }
    (kept, seen, None)
}

#[cfg(test)]
#[path = "misfire_tests.rs"]
mod tests;
