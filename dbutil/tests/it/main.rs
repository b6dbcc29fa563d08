//! Transactions, migrations and idempotency keys on a real Postgres.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod blame;
mod idempotency;
mod tenancy;
