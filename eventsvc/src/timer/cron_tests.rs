use chrono_tz::{America::New_York, Australia::Lord_Howe, Europe::Berlin, Pacific::Apia};
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The next slots as the wall shows them, with the offset.
fn slots(cron: &str, zone: Tz, after: &str, count: usize) -> Vec<String> {
    let cron = Cron::parse(cron, zone).unwrap();
    let times = std::iter::successors(cron.next(at(after)), |slot| cron.next(*slot));
    let told = times.map(|slot| slot.with_timezone(&zone).format("%m-%d %H:%M:%S %:z").to_string());
    told.take(count).collect()
}

#[test]
fn a_time_of_day_that_is_left_out_fires_once_right_after_the_gap() {
    assert_eq!(
        slots("30 2 * * *", Berlin, "2026-03-28T00:00:00Z", 3),
        ["03-28 02:30:00 +01:00", "03-29 03:00:00 +02:00", "03-30 02:30:00 +02:00"]
    );
    assert_eq!(
        slots("30 2 * * *", New_York, "2026-03-07T12:00:00Z", 2),
        ["03-08 03:00:00 -04:00", "03-09 02:30:00 -04:00"]
    );
    assert_eq!(
        slots("15 2 * * *", Lord_Howe, "2026-10-03T00:00:00Z", 2),
        ["10-04 02:30:00 +11:00", "10-05 02:15:00 +11:00"],
        "half an hour is left out there"
    );
    assert_eq!(
        slots("0,20,40 2,3 * * *", Berlin, "2026-03-29T00:00:00Z", 3),
        ["03-29 03:00:00 +02:00", "03-29 03:20:00 +02:00", "03-29 03:40:00 +02:00"],
        "three that are left out and one that is not make one"
    );
    assert_eq!(
        slots("0 12 30 12 *", Apia, "2011-12-01T00:00:00Z", 1),
        ["12-31 00:00:00 +14:00"],
        "a whole day was left out there"
    );
}

#[test]
fn a_time_of_day_that_comes_twice_fires_the_first_time() {
    assert_eq!(
        slots("30 2 * * *", Berlin, "2026-10-24T12:00:00Z", 2),
        ["10-25 02:30:00 +02:00", "10-26 02:30:00 +01:00"]
    );
    assert_eq!(
        slots("30 1 * * *", New_York, "2026-10-31T12:00:00Z", 2),
        ["11-01 01:30:00 -04:00", "11-02 01:30:00 -05:00"]
    );
    assert_eq!(
        slots("45 1 * * *", Lord_Howe, "2026-04-04T00:00:00Z", 2),
        ["04-05 01:45:00 +11:00", "04-06 01:45:00 +10:30"]
    );
    assert_eq!(
        slots("30 2 * * *", Berlin, "2026-10-25T00:45:00Z", 1),
        ["10-26 02:30:00 +01:00"],
        "the second time does not count, also for one who looks in between"
    );
}

#[test]
fn a_rhythm_goes_by_what_really_passes() {
    assert_eq!(
        slots("30 * * * *", Berlin, "2026-03-29T00:00:00Z", 3),
        ["03-29 01:30:00 +01:00", "03-29 03:30:00 +02:00", "03-29 04:30:00 +02:00"]
    );
    assert_eq!(
        slots("*/30 * * * *", Berlin, "2026-10-24T23:45:00Z", 6),
        [
            "10-25 02:00:00 +02:00",
            "10-25 02:30:00 +02:00",
            "10-25 02:00:00 +01:00",
            "10-25 02:30:00 +01:00",
            "10-25 03:00:00 +01:00",
            "10-25 03:30:00 +01:00"
        ]
    );
    assert_eq!(
        slots("*/20 * * * *", Lord_Howe, "2026-04-04T14:15:00Z", 5),
        [
            "04-05 01:20:00 +11:00",
            "04-05 01:40:00 +11:00",
            "04-05 01:40:00 +10:30",
            "04-05 02:00:00 +10:30",
            "04-05 02:20:00 +10:30"
        ]
    );
    assert_eq!(
        slots("* 2 * * *", Berlin, "2026-03-28T01:58:30Z", 2),
        ["03-28 02:59:00 +01:00", "03-30 02:00:00 +02:00"],
        "each minute of an hour is a rhythm, so an hour that is left out has none"
    );
}

#[test]
fn leap_days_months_ends_and_either_kind_of_day_are_found() {
    assert_eq!(slots("0 0 29 2 *", Tz::UTC, "2026-01-01T00:00:00Z", 1), ["02-29 00:00:00 +00:00"]);
    let leap = Cron::parse("0 0 29 2 *", Tz::UTC).unwrap();
    assert_eq!(leap.next(at("2096-03-01T00:00:00Z")), Some(at("2104-02-29T00:00:00Z")));
    assert_eq!(Cron::parse("0 0 30 2 *", Berlin).unwrap().next(at("2026-01-01T00:00:00Z")), None);
    assert_eq!(
        slots("0 12 1 * MON", Tz::UTC, "2026-06-01T12:00:00Z", 3),
        ["06-08 12:00:00 +00:00", "06-15 12:00:00 +00:00", "06-22 12:00:00 +00:00"]
    );
    assert_eq!(
        slots("0 12 L * *", Tz::UTC, "2026-02-01T00:00:00Z", 2),
        ["02-28 12:00:00 +00:00", "03-31 12:00:00 +00:00"]
    );
    assert_eq!(
        slots("*/20 30 9 * * 7", Tz::UTC, "2026-06-01T00:00:00Z", 3),
        ["06-07 09:30:00 +00:00", "06-07 09:30:20 +00:00", "06-07 09:30:40 +00:00"]
    );
    assert_eq!(slots("@daily", Berlin, "2026-06-01T00:00:00.5Z", 1), ["06-02 00:00:00 +02:00"]);
}

#[test]
fn a_slot_is_after_even_when_asked_within_its_second() {
    let cron = Cron::parse("* * * * * *", Tz::UTC).unwrap();

    assert_eq!(cron.next(at("2026-06-01T00:00:00.999Z")), Some(at("2026-06-01T00:00:01Z")));
    assert_eq!(cron.next(at("2026-06-01T00:00:01Z")), Some(at("2026-06-01T00:00:02Z")));
}

fn expressions() -> impl Strategy<Value = String> {
    let minute = prop_oneof![
        Just("*".to_owned()),
        (1..30_u32).prop_map(|step| format!("*/{step}")),
        (0..60_u32).prop_map(|minute| minute.to_string()),
        (0..30_u32, 30..60_u32).prop_map(|(one, other)| format!("{one},{other}")),
    ];
    let hour = prop_oneof![
        Just("*".to_owned()),
        Just("*/3".to_owned()),
        (0..4_u32).prop_map(|hour| hour.to_string()),
        Just("1-3".to_owned()),
    ];
    (minute, hour).prop_map(|(minute, hour)| format!("{minute} {hour} * * *"))
}

/// Around a change of the clock, where mistakes are.
fn instants() -> impl Strategy<Value = (Tz, DateTime<Utc>)> {
    let turns = vec![
        (Berlin, "2026-03-29T01:00:00Z"),
        (Berlin, "2026-10-25T01:00:00Z"),
        (New_York, "2026-03-08T07:00:00Z"),
        (New_York, "2026-11-01T06:00:00Z"),
        (Lord_Howe, "2026-04-04T15:00:00Z"),
        (Lord_Howe, "2026-10-03T15:30:00Z"),
    ];
    (prop::sample::select(turns), -200_000..200_000_i64)
        .prop_map(|((zone, turn), off)| (zone, at(turn) + Duration::seconds(off)))
}

proptest! {
    #[test]
    fn time_never_goes_back(text in expressions(), (zone, start) in instants()) {
        let cron = Cron::parse(&text, zone).unwrap();
        let mut last = start;
        for _ in 0..50 {
            let next = cron.next(last).unwrap();
            prop_assert!(next > last, "{text}: {next} after {last}");
            last = next;
        }
    }

    #[test]
    fn no_slot_is_between_an_instant_and_its_next_slot(
        text in expressions(),
        (zone, start) in instants(),
        share in 0.0..1.0_f64,
    ) {
        let cron = Cron::parse(&text, zone).unwrap();
        let next = cron.next(start).unwrap();
        let between = start + Duration::seconds(((next - start).num_seconds() as f64 * share) as i64);

        prop_assume!(between < next);
        prop_assert_eq!(cron.next(between), Some(next), "{} from {}", text, between);
    }

    #[test]
    fn a_rhythm_of_minutes_is_what_the_wall_shows_minute_by_minute(
        step in 1..30_u32,
        (zone, start) in instants(),
    ) {
        let cron = Cron::parse(&format!("*/{step} * * * *"), zone).unwrap();
        let next = cron.next(start).unwrap();

        let minutes = (start.timestamp() / 60 + 1)..;
        let matching = minutes.map(|minute| DateTime::from_timestamp(minute * 60, 0).unwrap())
            .find(|now| now.with_timezone(&zone).minute().is_multiple_of(step));
        prop_assert_eq!(Some(next), matching, "*/{} after {}", step, start);
    }

    #[test]
    fn no_text_breaks_the_reader_and_what_is_wrong_is_named(
        text in prop_oneof!["[0-9*/,#?@A-Z -]{0,40}", "\\PC{0,60}", "([0-9]{1,3}|\\*|[0-9]-[0-9]|\\*/[0-9]|[A-Z]{3}|L|[0-9]W|[0-9]#[0-9])( (\\*|[0-9]{1,2}|[0-9]L|\\?)){4,5}"],
    ) {
        match Cron::parse(&text, Tz::UTC) {
            Ok(cron) => drop(cron.next(at("2026-01-01T00:00:00Z"))),
            Err(why) => prop_assert!(!why.is_empty()),
        }
    }
}
