use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

/// A queue of `(key, second of arrival)`.
fn queue(waiting: &[(&str, i64)]) -> Vec<Waiting> {
    let one = |(key, second): &(&str, i64)| Waiting {
        event_id: EventId::mint(),
        key: (*key).to_owned(),
        received_at: at(*second),
        bytes: 100,
    };
    waiting.iter().map(one).collect()
}

fn flow(value: Value) -> Flow {
    serde_json::from_value(value).unwrap()
}

/// Which places of the queue fire, unit by unit.
fn fired(plan: &Plan, queue: &[Waiting]) -> Vec<Vec<usize>> {
    let place = |id: &EventId| queue.iter().position(|one| one.event_id == *id).unwrap();
    plan.fire.iter().map(|unit| unit.members.iter().map(place).collect()).collect()
}

#[test]
fn no_more_of_a_key_run_at_once_than_may() {
    let queue = queue(&[("a", 0), ("a", 1), ("b", 2), ("a", 3)]);
    let running = HashMap::from([("b".to_owned(), 1)]);

    let plan = plan(&flow(json!({ "concurrency": 2 })), &queue, &running, None, at(9));

    assert_eq!(fired(&plan, &queue), [[0], [1], [2]]);
    assert_eq!(plan.again_at, None, "only an end makes room");
}

#[test]
fn a_rate_lets_a_burst_through_and_then_says_when_the_next_may_go() {
    let flow = flow(json!({ "rate": { "limit": 2, "per_seconds": 10 } }));
    let queue = queue(&[("", 0), ("", 0), ("", 0)]);

    let first = plan(&flow, &queue, &HashMap::new(), None, at(100));
    let second = plan(&flow, &queue[2..], &HashMap::new(), first.busy_until, at(104));
    let third = plan(&flow, &queue[2..], &HashMap::new(), first.busy_until, at(105));

    assert_eq!((fired(&first, &queue), first.again_at), (vec![vec![0], vec![1]], Some(at(105))));
    assert_eq!((second.fire.len(), second.again_at), (0, Some(at(105))));
    assert_eq!(third.fire.len(), 1);
}

#[test]
fn a_debounced_key_fires_its_last_when_it_has_been_quiet() {
    let flow = flow(json!({ "debounce_seconds": 5 }));
    let queue = queue(&[("a", 0), ("b", 1), ("a", 4)]);

    let early = plan(&flow, &queue, &HashMap::new(), None, at(6));
    let late = plan(&flow, &queue, &HashMap::new(), None, at(9));

    assert_eq!((fired(&early, &queue), early.again_at), (vec![vec![1]], Some(at(9))));
    assert_eq!(fired(&late, &queue), [vec![0, 2], vec![1]]);
    assert_eq!(late.fire[0].lead, queue[2].event_id);
}

#[test]
fn a_batch_goes_when_it_is_full_or_old_enough() {
    let flow = flow(json!({ "batch": { "max": 2, "seconds": 10 } }));
    let queue = queue(&[("a", 0), ("a", 1), ("a", 2), ("b", 3)]);

    let early = plan(&flow, &queue, &HashMap::new(), None, at(5));
    let late = plan(&flow, &queue, &HashMap::new(), None, at(12));

    assert_eq!((fired(&early, &queue), early.again_at), (vec![vec![0, 1]], Some(at(12))));
    assert_eq!(early.fire[0].lead, queue[0].event_id);
    assert_eq!(fired(&late, &queue), [vec![0, 1], vec![2]]);
}

#[test]
fn a_batch_stays_small_enough_to_travel() {
    let flow = flow(json!({ "batch": { "max": 10, "seconds": 10 } }));
    let mut queue = queue(&[("a", 0), ("a", 0), ("a", 0)]);
    queue[0].bytes = 900 * 1024;
    queue[1].bytes = 150 * 1024;
    queue[2].bytes = 150 * 1024;

    let plan = plan(&flow, &queue, &HashMap::new(), None, at(1));

    assert_eq!(fired(&plan, &queue), [[0], [1]], "what is too large goes alone, the rest waits");
}

proptest! {
    #[test]
    fn nothing_fires_twice_nor_out_of_its_keys_order(
        waiting in prop::collection::vec((0..3_usize, 0..50_i64), 0..30),
        concurrency in prop::option::of(1..4_u32),
        limit in prop::option::of(1..5_u32),
        together in 0..3_u8,
        now in 0..80_i64,
    ) {
        let names = ["a", "b", "c"];
        let mut waiting: Vec<_> = waiting.iter().map(|(key, at)| (names[*key], *at)).collect();
        waiting.sort_by_key(|(_, at)| *at);
        let queue = queue(&waiting);
        let mut said = json!({ "concurrency": concurrency.unwrap_or(9),
            "rate": { "limit": limit.unwrap_or(100), "per_seconds": 5 } });
        match together {
            1 => said["debounce_seconds"] = json!(7),
            2 => said["batch"] = json!({ "max": 3, "seconds": 7 }),
            _ => {}
        }
        let plan = plan(&flow(said), &queue, &HashMap::new(), None, at(now));

        let mut seen = std::collections::HashSet::new();
        let mut last: HashMap<&str, EventId> = HashMap::new();
        for unit in &plan.fire {
            prop_assert!(unit.members.contains(&unit.lead));
            for member in &unit.members {
                prop_assert!(seen.insert(*member));
                let before = last.insert(&unit.key, *member);
                prop_assert!(before.is_none_or(|before| before < *member));
            }
        }
        for key in names {
            let count = plan.fire.iter().filter(|unit| unit.key == key).count();
            prop_assert!(count <= concurrency.unwrap_or(9) as usize);
        }
        prop_assert!(plan.fire.len() <= limit.unwrap_or(100) as usize);
        prop_assert!(plan.again_at.is_none_or(|again| again > at(now)));
    }
}
