//! Telling tenants of their runs, by Standard Webhooks 1.0.
//!
//! Events are heard on the stream of runs, beside what makes them: a run costs nothing more where nobody wants to be told.
//! What an endpoint shall be told is a row; whoever takes it moves the time at which it is due on by as long as an attempt
//! can take, so that a process that dies loses nothing. An event is sent at least once, always with the same `webhook-id`.
//!
//! Invariant: an endpoint has few attempts under way at once, fewer while it fails, so a slow one holds nobody up.

mod config;
mod outcome;
mod secrets;
mod send;
mod sign;

use pubsub::Ended;
use tokio::sync::Notify;

use crate::clients::credsvc::Credsvc;

pub use config::WebhookConfig;
pub(crate) use outcome::{After, Sent, after};
pub(crate) use secrets::Secrets;
pub(crate) use send::{Attempt, attempt};
pub(crate) use sign::{check_secret, make_secret};

/// The events there are. An endpoint that names none gets them all.
pub(crate) const EVENT_TYPES: &[&str] = &[
    "run.created",
    "run.started",
    "run.waiting",
    "run.paused",
    "run.resumed",
    "run.finished",
    "run.refused",
    "approval.requested",
    "approval.decided",
    "approval.expired",
    "budget.warned",
    "budget.exhausted",
];
/// How many attempts at an endpoint may be under way at once in one process.
pub(crate) const PER_ENDPOINT: i64 = 4;
/// How many attempts of all.
pub(crate) const AT_ONCE: usize = 128;

/// What listener, worker and handlers share.
#[derive(Debug)]
pub(crate) struct Webhooks {
    pub(crate) config: WebhookConfig,
    pub(crate) secrets: Secrets,
    /// Rung when something may be due.
    pub(crate) due: Notify,
}

impl Webhooks {
    pub(crate) fn new(config: WebhookConfig, credsvc: Credsvc, ended: Ended) -> Self {
        Self { config, secrets: Secrets::new(credsvc, ended), due: Notify::new() }
    }
}
