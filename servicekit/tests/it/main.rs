//! The edges of a service: who may call, what bodies are refused with, how it starts and stops.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod edge;
mod lifecycle;
mod trust;
