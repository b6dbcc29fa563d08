use std::collections::BTreeSet;

use chrono_tz::Tz;

use super::{
    super::{cron::Cron, schedule::Pattern},
    *,
};

const GRACE: Duration = Duration::seconds(60);

fn start() -> DateTime<Utc> {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

fn every(seconds: i64) -> Schedule {
    Schedule {
        pattern: Pattern::Every { anchor: start(), seconds },
        zone: Tz::UTC,
        start: None,
        end: None,
        blackout: BTreeSet::new(),
        jitter: Duration::zero(),
    }
}

/// How many minutes after the start each fires, how many are missed, and when the next is, in minutes.
fn planned(schedule: &Schedule, misfire: Misfire, late: i64) -> (Vec<i64>, i64, Option<i64>) {
    let now = start() + Duration::seconds(late);
    let plan = plan(schedule, uuid::Uuid::nil().into(), start(), now, (misfire, GRACE));
    let minutes = |slot: &Slot| (slot.at - start()).num_minutes();
    (plan.fire.iter().map(minutes).collect(), plan.missed, plan.next.as_ref().map(minutes))
}

#[test]
fn what_is_late_within_grace_fires_whatever_the_policy() {
    for misfire in Misfire::ALL {
        assert_eq!(planned(&every(600), *misfire, 60), (vec![0], 0, Some(10)));
        assert_eq!(planned(&every(60), *misfire, 60), (vec![0, 1], 0, Some(2)));
    }
}

#[test]
fn what_was_missed_is_dealt_with_as_the_policy_says() {
    let hours = 3 * 3600 + 300;

    assert_eq!(planned(&every(3600), Misfire::Skip, hours), (vec![], 4, Some(240)));
    assert_eq!(planned(&every(3600), Misfire::FireOnce, hours), (vec![180], 3, Some(240)));
    assert_eq!(
        planned(&every(3600), Misfire::FireAll, hours),
        (vec![0, 60, 120, 180], 0, Some(240))
    );
    assert_eq!(
        planned(&every(3600), Misfire::Skip, 3 * 3600 + 30),
        (vec![180], 3, Some(240)),
        "the latest is within grace"
    );
}

#[test]
fn making_up_for_everything_stops_at_a_hundred() {
    let (fired, missed, next) = planned(&every(60), Misfire::FireAll, 1000 * 60);

    assert_eq!((fired.len(), fired[0], fired[99]), (100, 901, 1000));
    assert_eq!((missed, next), (901, Some(1001)));
}

#[test]
fn a_backlog_of_years_is_no_work() {
    let (fired, missed, next) = planned(&every(1), Misfire::FireOnce, 3 * 365 * 86_400);

    assert_eq!((fired, next), (vec![3 * 365 * 1440], Some(3 * 365 * 1440)));
    assert!(missed >= 9_999, "{missed}");
    let seldom =
        Schedule { pattern: Pattern::Cron(Cron::parse("* * 1 6 *", Tz::UTC).unwrap()), ..every(1) };
    let (fired, _, next) = planned(&seldom, Misfire::FireAll, 40 * 365 * 86_400);
    assert_eq!(fired.len(), 100);
    assert!(next.is_some());
}

#[test]
fn more_than_a_hundred_within_grace_are_fired_in_turns() {
    let plan = plan(
        &every(1),
        uuid::Uuid::nil().into(),
        start(),
        start() + Duration::seconds(150),
        (Misfire::Skip, Duration::seconds(300)),
    );

    assert_eq!((plan.fire.len(), plan.missed), (100, 0));
    assert_eq!(plan.next.map(|slot| slot.at), Some(start() + Duration::seconds(100)));
}

#[test]
fn a_missed_one_shot_fires_late_or_never() {
    let once = Schedule { pattern: Pattern::Once(start()), ..every(1) };

    assert_eq!(planned(&once, Misfire::Skip, 3600), (vec![], 1, None));
    assert_eq!(planned(&once, Misfire::FireOnce, 3600), (vec![0], 0, None));
    assert_eq!(planned(&once, Misfire::FireAll, 3600), (vec![0], 0, None));
}
