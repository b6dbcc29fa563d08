//! The short form of `make chaos`.

use std::time::Duration;

use e2e::chaos::{Plan, run};

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_while_events_come_in_each_makes_one_run_and_each_run_ends() {
    let plan = Plan {
        deliveries: 60,
        duplicates: 10,
        kills: 1,
        seed: 20_261_121,
        settle: Duration::from_secs(150),
    };

    let verdict = run(&plan).await;

    println!("{verdict}");
    assert!(verdict.is_clean(), "{verdict}");
}
