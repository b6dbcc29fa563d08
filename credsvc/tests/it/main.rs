//! credsvc through its router, on a real Postgres.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod audit;
mod create;
mod edit;
mod grants;
mod harness;
mod ledger;
mod list;
mod plans;
mod read;
mod resolve;
mod root_key;
mod secrecy;
mod start;
mod walk;
