use proptest::prelude::*;

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn every(anchor: DateTime<Utc>, seconds: i64, jitter: i64) -> Schedule {
    Schedule {
        pattern: Pattern::Every { anchor, seconds },
        zone: Tz::UTC,
        start: None,
        end: None,
        blackout: BTreeSet::new(),
        jitter: Duration::seconds(jitter),
    }
}

fn trigger(number: u128) -> TriggerId {
    uuid::Uuid::from_u128(number).into()
}

#[test]
fn intervals_are_counted_from_their_anchor() {
    let anchor = at("2026-06-01T00:00:00.25Z");
    let schedule = every(anchor, 7, 0);

    assert_eq!(schedule.next(anchor), Some(anchor + Duration::seconds(7)));
    assert_eq!(schedule.next(anchor + Duration::seconds(20)), Some(anchor + Duration::seconds(21)));
    assert_eq!(
        schedule.next(anchor + Duration::days(3650)),
        Some(anchor + Duration::seconds(315_360_003))
    );
    let ahead = Schedule { start: Some(anchor), ..schedule };
    assert_eq!(ahead.next(anchor - Duration::days(1)), Some(anchor), "a start is the first slot");
}

#[test]
fn a_schedule_keeps_to_its_start_and_end() {
    let (start, end) = (at("2026-06-02T00:00:00Z"), at("2026-06-03T00:00:00Z"));
    let schedule = Schedule {
        pattern: Pattern::Cron(Cron::parse("0 */12 * * *", Tz::UTC).unwrap()),
        start: Some(start),
        end: Some(end),
        ..every(start, 1, 0)
    };

    let slots: Vec<_> =
        schedule.slots(trigger(1), at("2026-01-01T00:00:00Z")).map(|s| s.at).collect();

    assert_eq!(slots, [start, at("2026-06-02T12:00:00Z"), end]);
}

#[test]
fn a_one_shot_has_one_slot() {
    let time = at("2026-06-01T00:00:00Z");
    let schedule = Schedule { pattern: Pattern::Once(time), ..every(time, 1, 30) };

    let slots: Vec<_> = schedule.slots(trigger(1), time - Duration::seconds(1)).collect();

    assert_eq!(slots.len(), 1);
    assert!(slots[0].due >= time && slots[0].due < time + Duration::seconds(30));
    assert_eq!(schedule.next(time), None);
}

#[test]
fn jitter_tells_triggers_apart_and_reaches_over_its_whole_window() {
    let time = at("2026-06-01T00:00:00Z");
    let schedule = every(time, 3600, 600);
    let late = |number| (schedule.slot(trigger(number), time).due - time).num_seconds();

    let all: Vec<i64> = (0..400).map(late).collect();

    assert!(all.iter().all(|late| (0..600).contains(late)));
    for minute in 0..10 {
        let within = all.iter().filter(|late| **late / 60 == minute).count();
        assert!((15..70).contains(&within), "{within} of 400 in minute {minute}");
    }
}

proptest! {
    #[test]
    fn slots_and_due_times_only_go_forward_and_jitter_is_stable(
        seconds in 1..100_000_i64,
        jitter in 0..86_400_i64,
        ahead in 0..1_000_000_000_i64,
        number in any::<u128>(),
    ) {
        let anchor = at("2026-06-01T00:00:00Z");
        let schedule = every(anchor, seconds, jitter);
        let after = anchor + Duration::milliseconds(ahead);
        let slots: Vec<Slot> = schedule.slots(trigger(number), after).take(20).collect();

        prop_assert!(slots[0].at > after && slots[0].at <= after + Duration::seconds(seconds));
        for pair in slots.windows(2) {
            prop_assert_eq!(pair[1].at - pair[0].at, Duration::seconds(seconds));
            prop_assert!(pair[0].due >= pair[0].at && pair[0].due < pair[1].at);
            prop_assert_eq!(schedule.slot(trigger(number), pair[0].at), pair[0]);
        }
    }
}

#[test]
fn days_without_slots_are_days_of_the_zone() {
    let zone = Tz::Europe__Berlin;
    let cron = Pattern::Cron(Cron::parse("0 */6 * * *", zone).unwrap());
    let days = ["2026-12-24", "2026-12-25"].map(|day| day.parse().unwrap());
    let schedule = Schedule {
        pattern: cron,
        zone,
        blackout: days.into(),
        ..every(at("2026-01-01T00:00:00Z"), 1, 0)
    };
    let slots: Vec<_> = schedule
        .slots(trigger(1), at("2026-12-23T16:00:00Z"))
        .take(3)
        .map(|slot| slot.at)
        .collect();

    // 18:00 on the 23rd, then midnight of the 26th, an hour before it is that day in UTC.
    let expected = ["2026-12-23T17:00:00Z", "2026-12-25T23:00:00Z", "2026-12-26T05:00:00Z"];
    assert_eq!(slots, expected.map(at));
}

#[test]
fn a_schedule_that_only_knows_days_without_slots_has_none() {
    let time = at("2026-12-24T12:00:00Z");
    let once = Schedule {
        pattern: Pattern::Once(time),
        blackout: BTreeSet::from(["2026-12-24".parse().unwrap()]),
        ..every(time, 1, 0)
    };
    let day: Vec<NaiveDate> = (0..366).map(|n| (time + Duration::days(n)).date_naive()).collect();
    let year = Schedule { blackout: day.into_iter().collect(), ..every(time, 3600, 0) };

    assert_eq!(once.next(at("2026-12-01T00:00:00Z")), None);
    assert!(once.pattern_fires_only_on_blackout(at("2026-12-01T00:00:00Z")));
    assert_eq!(year.next(time), Some(at("2027-12-25T00:00:00Z")));
}
