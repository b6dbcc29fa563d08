//! When a timer fires: its slots, and by how much jitter puts each off.

use std::collections::BTreeSet;

use chrono::{DateTime, Duration, NaiveDate, SecondsFormat, TimeZone as _, Utc};
use chrono_tz::Tz;
use sha2::{Digest as _, Sha256};
use shared_models::TriggerId;

use super::cron::Cron;

/// What slots follow from.
#[derive(Clone, Debug)]
pub(crate) enum Pattern {
    /// A wall clock.
    Cron(Cron),
    /// So many seconds apart, counted from the anchor: what happens between slots moves none.
    Every { anchor: DateTime<Utc>, seconds: i64 },
    /// Once.
    Once(DateTime<Utc>),
}

/// A schedule that makes sense.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    pub pattern: Pattern,
    /// Where local times are told.
    pub zone: Tz,
    /// No slot is before.
    pub start: Option<DateTime<Utc>>,
    /// No slot is after.
    pub end: Option<DateTime<Utc>>,
    /// Days, as the zone counts them, on which no slot is.
    pub blackout: BTreeSet<NaiveDate>,
    pub jitter: Duration,
}

/// A time to fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// The time the schedule names, which identifies the slot.
    pub at: DateTime<Utc>,
    /// The time to fire, with jitter.
    pub due: DateTime<Utc>,
}

impl Schedule {
    /// The first slot after an instant.
    pub(crate) fn next(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let after = match self.start {
            Some(start) => after.max(start - Duration::microseconds(1)),
            None => after,
        };
        // Each turn leaves one of the days behind.
        let mut after = after;
        for _ in 0..=self.blackout.len() {
            let slot = self.regular(after)?;
            let day = slot.with_timezone(&self.zone).date_naive();
            if !self.blackout.contains(&day) {
                return Some(slot);
            }
            after = self.end_of(day, slot);
        }
        None
    }

    /// Whether there would be slots, were it not for the days without.
    pub(crate) fn pattern_fires_only_on_blackout(&self, after: DateTime<Utc>) -> bool {
        self.next(after).is_none() && self.regular(after).is_some()
    }

    /// The last instant of a day in the zone; at least the slot, which is on that day.
    fn end_of(&self, day: NaiveDate, slot: DateTime<Utc>) -> DateTime<Utc> {
        let midnight = day.succ_opt().and_then(|next| next.and_hms_opt(0, 0, 0));
        // Where the clock is put forward at midnight, the day ends when it is.
        let begins = midnight.and_then(|midnight| {
            let later = midnight + Duration::hours(3);
            let zoned = |local| self.zone.from_local_datetime(&local).earliest();
            zoned(midnight).or_else(|| zoned(later))
        });
        let ends = begins.map(|begins| begins.to_utc() - Duration::microseconds(1));
        ends.map_or(slot, |ends| ends.max(slot))
    }

    /// The first slot after an instant, whatever day that is.
    fn regular(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let slot = match &self.pattern {
            Pattern::Cron(cron) => cron.next(after),
            Pattern::Every { anchor, seconds } => {
                let micros = (after - *anchor).num_microseconds()?;
                let number = micros.div_euclid(seconds.checked_mul(1_000_000)?) + 1;
                anchor.checked_add_signed(Duration::seconds(number.checked_mul(*seconds)?))
            }
            Pattern::Once(at) => Some(*at).filter(|at| *at > after),
        };
        slot.filter(|slot| self.end.is_none_or(|end| *slot <= end))
    }

    /// A slot with its time to fire. Jitter is the same whoever asks, and never reaches the slot that follows.
    pub(crate) fn slot(&self, trigger: TriggerId, at: DateTime<Utc>) -> Slot {
        let mut window = self.jitter.num_milliseconds();
        if window > 0
            && let Some(following) = self.next(at)
        {
            window = window.min((following - at).num_milliseconds());
        }
        let millis = if window > 0 { draw(trigger, at) % window.unsigned_abs() } else { 0 };
        Slot { at, due: at + Duration::milliseconds(millis.cast_signed()) }
    }

    /// The slots after an instant, in order.
    pub(crate) fn slots(
        &self,
        trigger: TriggerId,
        after: DateTime<Utc>,
    ) -> impl Iterator<Item = Slot> {
        let times = std::iter::successors(self.next(after), |at| self.next(*at));
        times.map(move |at| self.slot(trigger, at))
    }

    /// An instant as people there tell it.
    pub(crate) fn local(&self, at: DateTime<Utc>) -> String {
        at.with_timezone(&self.zone).to_rfc3339_opts(SecondsFormat::AutoSi, false)
    }
}

fn draw(trigger: TriggerId, at: DateTime<Utc>) -> u64 {
    let mut hash = Sha256::new();
    hash.update(trigger.uuid().as_bytes());
    hash.update(at.timestamp_micros().to_be_bytes());
    let mut number = [0; 8];
    number.copy_from_slice(&hash.finalize()[..8]);
    u64::from_be_bytes(number)
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
