//! Listeners that go and look: one for each source of a system that does not deliver by itself.
//!
//! A [`Listener`] is a pure question to the outside: what is new since this position? The worker asks it when it is due, and
//! commits what it found together with the position it came to. Triggers with the same credential and options share a
//! source and so its listener; the last one to leave stops it.
//!
//! Invariant: a position is only ever written in the transaction of the deliveries that led to it, and only by the replica
//! whose epoch the lease still has.

mod account;
mod ask;
mod feed;
mod github;
mod gmail;
mod hubspot;
mod imap;
mod poll;
mod reconcile;
mod worker;

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use serde_json::{Map, Value};
use url::Url;

use crate::trigger::System;

pub(crate) use account::AppSource;
pub(crate) use ask::Ask;
pub(crate) use gmail::GmailOptions;
pub(crate) use hubspot::{about as hubspot_about, nearby as hubspot_nearby};
pub(crate) use imap::{ImapOptions, Trust as ImapTrust};
pub(crate) use poll::PollOptions;
pub(crate) use reconcile::Reconcile;
pub use worker::Worker;
pub(crate) use worker::run;

/// No source is looked at more often than this, in seconds.
pub(crate) const FLOOR: u32 = 30;

/// Where the providers' interfaces are.
#[derive(Clone, Debug)]
pub struct Providers {
    /// Gmail's.
    pub gmail: Url,
    /// GitHub's.
    pub github: Url,
    /// HubSpot's.
    pub hubspot: Url,
    /// Slack's.
    pub slack: Url,
    /// Stripe's.
    pub stripe: Url,
}

impl Providers {
    /// Each of them.
    pub(crate) fn all(&self) -> [&Url; 5] {
        [&self.gmail, &self.github, &self.hubspot, &self.slack, &self.stripe]
    }
}

/// What goes and looks at a source.
pub(crate) trait Listener: Send + Sync {
    /// What is new since `position`, and where that leads. Without a position it is the first look.
    fn look<'a>(
        &'a self,
        ask: &'a Ask,
        position: Option<&'a Value>,
    ) -> BoxFuture<'a, Result<Look, LookError>>;
}

/// What a look found.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Look {
    /// New things, oldest first. One that was found before is told by its key.
    pub items: Vec<Item>,
    /// Where to go on.
    pub position: Value,
    /// When to look again; at once when there is more.
    pub again: Duration,
    /// What a person should know, such as a position that had become too old.
    pub note: Option<String>,
    /// When something at the provider has to be renewed, which the listener does by itself.
    pub renew_at: Option<DateTime<Utc>>,
    /// What went wrong after all this: it is taken all the same.
    pub failed: Option<LookError>,
}

/// One new thing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    /// The provider's id of it.
    pub key: String,
    pub payload: Value,
    /// Headers as filters see them.
    pub headers: Map<String, Value>,
    pub occurred_at: Option<DateTime<Utc>>,
    /// Found because we looked, where the provider should have said so and had not.
    pub recovered: bool,
    /// What it tells of, where the provider tells of the same by an id of its own.
    pub about: Option<String>,
}

/// Why a look found nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LookError {
    /// The provider refuses the credential.
    #[error("the credential is refused: {0}")]
    Credential(String),
    /// It may work later; the provider may say when.
    #[error("{0}")]
    Later(String, Option<Duration>),
    /// It will not work before somebody changes something.
    #[error("{0}")]
    Never(String),
}

/// Whether somebody goes and looks at a source with these options.
pub(crate) fn listened(system: System, options: &Value) -> bool {
    of(system, options).is_some()
}

/// Whether two options look at the same things, so that how far one has come means something to the other.
pub(crate) fn same_place(system: System, before: &Value, after: &Value) -> bool {
    let places: &[&str] = match system {
        System::Poll => &["url", "format", "items", "id"],
        System::Github => &["reconcile", "app"],
        System::Hubspot | System::Slack | System::Stripe => &["app"],
        System::Imap => &["host", "port", "mailbox"],
        System::Gmail | System::Webhook | System::Timer | System::Nats => &[],
    };
    places.iter().all(|field| before.get(field) == after.get(field))
}

/// The listener of a source; none for a system that delivers by itself.
pub(crate) fn of(system: System, options: &Value) -> Option<Result<Box<dyn Listener>, String>> {
    fn read<T: Listener + serde::de::DeserializeOwned + 'static>(
        options: &Value,
    ) -> Result<Box<dyn Listener>, String> {
        let listener: T = serde_json::from_value(options.clone()).map_err(|e| e.to_string())?;
        Ok(Box::new(listener))
    }
    let said = |field: &str| options[field].is_object();
    match system {
        System::Poll => Some(read::<PollOptions>(options)),
        System::Gmail => Some(read::<GmailOptions>(options)),
        System::Imap => Some(read::<ImapOptions>(options)),
        System::Hubspot if said("reconcile") || said("app") => {
            Some(read::<hubspot::Hubspot>(options))
        }
        System::Github if said("reconcile") => Some(read::<github::Reconciled>(options)),
        System::Github | System::Slack | System::Stripe if said("app") => {
            let app = serde_json::from_value(options["app"].clone()).map_err(|e| e.to_string());
            Some(app.map(|app| Box::new(account::Account { system, app }) as Box<dyn Listener>))
        }
        System::Webhook
        | System::Timer
        | System::Nats
        | System::Github
        | System::Slack
        | System::Stripe
        | System::Hubspot => None,
    }
}
