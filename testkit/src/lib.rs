//! What tests stand on: fresh databases, private NATS servers, people with tokens, stand-ins for outside servers, and
//! the walk over every route with bad credentials.
//!
//! Tests run against real servers. `make test` starts the Postgres they share and says where in
//! `SWITCHYARD_TEST_POSTGRES`; each test gets a database of its own, made from a migrated template.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod api;
mod bus;
mod courier;
mod cutter;
mod db;
mod github;
mod gmail;
mod google;
mod hubspot;
pub mod idp;
mod imap;
mod people;
mod ports;
mod slack;
mod stub;
mod wait;
pub mod walk;

pub use api::{Api, Reply};
pub use bus::TestNats;
pub use courier::Courier;
pub use cutter::Cutter;
pub use db::TestDb;
pub use github::{
    GITHUB_HOOK, GITHUB_INSTALLATION, GITHUB_MEMBER_TOKEN, GITHUB_OWN_INSTALLATION, GITHUB_TOKEN,
    Github,
};
pub use gmail::{GMAIL_TOKEN, Gmail};
pub use google::{GoogleKeys, google_keys, push_token};
pub use hubspot::{HUBSPOT_BATCH, HUBSPOT_PORTAL, HUBSPOT_TOKEN, Hubspot, hubspot_signature};
pub use idp::Idp;
pub use imap::{IMAP_PASSWORD, IMAP_USER, Imap, imap_ca};
pub use people::{Person, Trust};
pub use ports::{free_port, start_nats};
pub use slack::{SLACK_APP, Slack, slack_delivers, slack_signature};
pub use stub::{Answer, Stub, Stubbed};
pub use wait::{eventually, eventually_within};
pub use walk::Walk;
