#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod agents;
mod bus;
mod edits;
mod flow;
mod group;
mod harness;
mod intake;
mod ledger;
mod listening;
mod options;
mod peers;
mod providers;
mod respond;
mod scheduler;
mod timers;
mod triggers;
mod walk;
