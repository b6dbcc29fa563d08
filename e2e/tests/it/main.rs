//! The main job, end to end, through the public address; and what happens when processes die.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod chaos;
mod connections;
mod crash;
mod demo;
mod evaluate;
mod keys;
mod models;
mod needles;
mod openai;
mod paused;
mod refusals;
mod rotation;
mod runs;
mod secrets;
mod secrets_everywhere;
mod streams;
mod swarm;
mod telemetry;
mod timers;
mod transit;
mod up;
