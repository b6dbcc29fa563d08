//! `make chaos`: prints what happened; exit code 1 when anything was lost, doubled or stuck.
//!
//! `CHAOS_SEED`, `CHAOS_DELIVERIES`, `CHAOS_KILLS` change the plan.
#![allow(
    clippy::print_stdout,
    clippy::panic,
    reason = "it prints what it saw, and stops where it cannot go on"
)]

use std::{process::ExitCode, str::FromStr, time::Duration};

use e2e::chaos::{Plan, run};

#[tokio::main]
async fn main() -> ExitCode {
    let plan = Plan {
        deliveries: told("CHAOS_DELIVERIES").unwrap_or(1_000),
        duplicates: 10,
        kills: told("CHAOS_KILLS").unwrap_or(4),
        seed: told("CHAOS_SEED").unwrap_or_else(|| rand::random_range(0..1_000_000)),
        settle: Duration::from_secs(300),
    };
    println!("{plan:?}");
    let verdict = run(&plan).await;
    println!("{verdict}");
    if verdict.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[allow(clippy::disallowed_methods, reason = "the harness is told its plan by its environment")]
fn told<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}
