//! credsvc through its router, on a real Postgres.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod audit;
mod bao;
mod connect;
mod create;
mod edit;
mod grants;
mod harness;
mod kms;
mod leases;
mod leavers;
mod ledger;
mod list;
mod openbao;
mod plans;
mod proxy;
mod read;
mod renewals;
mod resolve;
mod restore;
mod revocations;
mod root_key;
mod rotation;
mod secrecy;
mod start;
mod terms;
mod trials;
mod types;
mod vault_entry;
mod vaults;
mod walk;
