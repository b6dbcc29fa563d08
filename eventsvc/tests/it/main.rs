#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod agents;
mod bus;
mod edits;
mod group;
mod harness;
mod intake;
mod ledger;
mod options;
mod scheduler;
mod timers;
mod triggers;
mod walk;
