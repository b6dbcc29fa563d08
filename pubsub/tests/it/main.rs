#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod backlog;
mod batch;
mod ended;
mod failures;
mod outages;
mod permissions;
mod relay;
mod rollback;
mod world;
