//! The main job, end to end, through the public address; and what happens when processes die.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod chaos;
mod crash;
mod demo;
mod models;
mod openai;
mod paused;
mod refusals;
mod secrets;
mod streams;
mod swarm;
mod telemetry;
mod timers;
mod up;
