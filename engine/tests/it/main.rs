#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod agents;
mod buses;
mod cancel;
mod claims;
mod crash;
mod doubt;
mod egress;
mod events;
mod firings;
mod grants;
mod harness;
mod http_tool;
mod plans;
mod retention;
mod runs;
mod scene;
mod tools;
mod versions;
mod walk;
