//! `next` against a slow reference, around the changes of the clock of every zone there is.
//!
//! The reference walks the minutes one by one and looks at the wall. `make test` takes one change and two expressions of each
//! zone, always the same; `make zones` every change of twenty years and every expression.

use std::collections::BTreeMap;

use chrono::Offset as _;
use chrono_tz::TZ_VARIANTS;

use super::*;

const FROM: i64 = 1_262_304_000; // 2010-01-01
const UNTIL: i64 = 1_893_456_000; // 2030-01-01
const DAY: i64 = 24 * 60 * 60;

/// Minutes and hours; the day is any.
struct Times {
    text: &'static str,
    minutes: &'static [u32],
    hours: &'static [u32],
    /// It names times of day, not a rhythm.
    fixed: bool,
}

const EVERY_HOUR: &[u32] =
    &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23];

const EXPRESSIONS: [Times; 7] = [
    Times { text: "30 2 * * *", minutes: &[30], hours: &[2], fixed: true },
    Times { text: "0 0 * * *", minutes: &[0], hours: &[0], fixed: true },
    Times { text: "15,45 1-3 * * *", minutes: &[15, 45], hours: &[1, 2, 3], fixed: true },
    Times { text: "59 23 * * *", minutes: &[59], hours: &[23], fixed: true },
    Times { text: "*/20 * * * *", minutes: &[0, 20, 40], hours: EVERY_HOUR, fixed: false },
    Times { text: "30 * * * *", minutes: &[30], hours: EVERY_HOUR, fixed: false },
    Times {
        text: "10 */3 * * *",
        minutes: &[10],
        hours: &[0, 3, 6, 9, 12, 15, 18, 21],
        fixed: false,
    },
];

fn offset(zone: Tz, at: i64) -> i64 {
    let at = DateTime::from_timestamp(at, 0).unwrap();
    i64::from(at.with_timezone(&zone).offset().fix().local_minus_utc())
}

/// When the clock of a zone was changed, looked for in steps.
fn transitions(zone: Tz, step: i64) -> Vec<i64> {
    let mut found = Vec::new();
    let (mut at, mut before) = (FROM, offset(zone, FROM));
    while at < UNTIL {
        let after = offset(zone, at + step);
        if after != before {
            let (mut low, mut high) = (at, at + step);
            while high - low > 1 {
                let middle = i64::midpoint(low, high);
                if offset(zone, middle) == before { low = middle } else { high = middle }
            }
            found.push(high);
        }
        (at, before) = (at + step, after);
    }
    found
}

/// What the wall shows, minute by minute, around an instant.
struct Wall {
    /// Instant and what is shown, both in seconds.
    minutes: Vec<(i64, i64)>,
    /// When a time is first shown.
    first: BTreeMap<i64, i64>,
}

impl Wall {
    fn around(zone: Tz, at: i64) -> Self {
        let begin = (at - 3 * DAY).div_euclid(60) * 60;
        let instants = (0..8 * 24 * 60).map(|minute| begin + minute * 60);
        let minutes: Vec<(i64, i64)> = instants.map(|at| (at, at + offset(zone, at))).collect();
        let mut first = BTreeMap::new();
        for (at, shown) in &minutes {
            first.entry(*shown).or_insert(*at);
        }
        Self { minutes, first }
    }

    /// The first slot after an instant, found the slow way.
    fn next(&self, times: &Times, after: i64) -> i64 {
        if !times.fixed {
            let mut minutes = self.minutes.iter();
            let slot = minutes.find(|(at, shown)| *at > after && wanted(times, *shown));
            return slot.expect("a slot within the days that are looked at").0;
        }
        let (begin, end) = (self.minutes[0].1, self.minutes[self.minutes.len() - 1].1);
        let days = begin.div_euclid(DAY)..=end.div_euclid(DAY);
        let mut slots = Vec::new();
        for (day, hour) in days.flat_map(|day| times.hours.iter().map(move |hour| (day, hour))) {
            for minute in times.minutes {
                let shown = day * DAY + i64::from(hour * 3600 + minute * 60);
                if shown <= begin || shown >= end {
                    continue;
                }
                // Where it is never shown, as soon as something later is.
                let left_out =
                    || self.minutes.iter().find(|(_, later)| *later > shown).map(|found| found.0);
                slots.extend(self.first.get(&shown).copied().or_else(left_out));
            }
        }
        slots.into_iter().filter(|slot| *slot > after).min().expect("a slot within the days")
    }
}

fn wanted(times: &Times, shown: i64) -> bool {
    let minute = (shown.rem_euclid(3600) / 60) as u32;
    let hour = (shown.rem_euclid(DAY) / 3600) as u32;
    times.minutes.contains(&minute) && times.hours.contains(&hour)
}

fn compare(zone: Tz, at: i64, expressions: &[&Times]) -> usize {
    let wall = Wall::around(zone, at);
    let mut compared = 0;
    for times in expressions {
        let cron = Cron::parse(times.text, zone).unwrap();
        // Both sides of the change, and within what it leaves out or shows twice.
        for off in [-DAY - 1, -3 * 3600, -3601, -60, -1, 0, 1, 1799, 3600, 2 * 3600 + 1, DAY] {
            let after = DateTime::from_timestamp(at + off, 0).unwrap();
            let next = cron.next(after).map(|next| next.timestamp());
            let expected = wall.next(times, at + off);
            assert_eq!(next, Some(expected), "`{}` in {zone} after {after}", times.text);
            compared += 1;
        }
    }
    compared
}

#[test]
fn every_zone_is_as_a_slow_look_at_its_wall_says() {
    let mut compared = 0;
    for (number, zone) in TZ_VARIANTS.into_iter().enumerate() {
        // One that has no change is looked at on a day like any other.
        let all = transitions(zone, 28 * DAY);
        let at = all.get(number % all.len().max(1)).copied().unwrap_or(FROM);
        let two = [number, number + 3].map(|place| &EXPRESSIONS[place % EXPRESSIONS.len()]);
        compared += compare(zone, at, &two);
    }
    assert_eq!(compared, TZ_VARIANTS.len() * 22);
}

#[test]
#[ignore = "takes minutes: `make zones`"]
fn every_change_of_twenty_years_is_as_a_slow_look_at_the_wall_says() {
    let expressions: Vec<&Times> = EXPRESSIONS.iter().collect();
    let (mut changes, mut compared) = (0, 0);
    for zone in TZ_VARIANTS {
        let all = transitions(zone, DAY);
        changes += all.len();
        for at in all.iter().chain([&FROM]) {
            compared += compare(zone, *at, &expressions);
        }
    }
    assert_eq!(compared, (changes + TZ_VARIANTS.len()) * 77);
    assert!(changes > 5_000, "{changes}");
}

#[test]
fn the_reference_sees_a_gap_a_turn_and_a_day_that_never_was() {
    let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap().timestamp();
    let night = &EXPRESSIONS[0];
    let spring = Wall::around(Tz::Europe__Berlin, at("2026-03-29T01:00:00Z"));
    let autumn = Wall::around(Tz::Europe__Berlin, at("2026-10-25T01:00:00Z"));
    let line = Wall::around(Tz::Pacific__Apia, at("2011-12-30T10:00:00Z"));

    assert_eq!(spring.next(night, at("2026-03-29T00:00:00Z")), at("2026-03-29T01:00:00Z"));
    assert_eq!(autumn.next(night, at("2026-10-24T20:00:00Z")), at("2026-10-25T00:30:00Z"));
    assert_eq!(autumn.next(night, at("2026-10-25T00:30:00Z")), at("2026-10-26T01:30:00Z"));
    // The 30th never was; it ends where the 31st begins.
    assert_eq!(line.next(night, at("2011-12-30T09:00:00Z")), at("2011-12-30T10:00:00Z"));
}
