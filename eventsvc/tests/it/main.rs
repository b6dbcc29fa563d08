#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod agents;
mod apps;
mod bus;
mod bus_triggers;
mod clock;
mod edits;
mod failed_counts;
mod failures;
mod flow;
mod github;
mod group;
mod harness;
mod hubspot;
mod imap;
mod intake;
mod leases;
mod leaving;
mod ledger;
mod listening;
mod losses;
mod mail;
mod options;
mod peers;
mod providers;
mod replays;
mod respond;
mod scheduler;
mod timers;
mod triggers;
mod waits;
mod walk;
