//! The gateway through its real listeners, on real Postgres and NATS, before stand-ins for the other services.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod audit;
mod bootstrap;
mod documents;
mod keys;
mod members;
mod proxy;
mod rates;
mod spellings;
mod streams;
mod teams;
mod tenants;
mod walk;
mod world;
