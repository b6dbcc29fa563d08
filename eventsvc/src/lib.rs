//! Triggers and events: what starts runs from outside, and the ledger of everything that came.
//!
//! Called by people through the gateway, by anybody at a hook (with proof), and by `engine` for payloads too large to
//! travel. Stores sources, triggers, deliveries as they came, firings and their events. Never stores a signing secret, a
//! signature or an authorization header.
//!
//! The way of a delivery: `http/receive_hook` → [`intake`] → `intake/committer` → `store/group`, then the relay. A timer's
//! begins at `timer/scheduler`.

mod app;
mod bus_hooks;
mod clients;
mod clock;
mod config;
mod delivery;
mod error;
mod event;
mod filter;
mod flow;
mod hearing;
mod hooks;
mod http;
mod input;
pub mod intake;
mod kept;
mod listeners;
mod listening;
mod options;
mod payload;
mod refire;
mod routes;
mod save;
mod secrets;
mod start;
mod stats;
mod store;
mod timer;
mod trigger;
mod turns;
pub mod verify;
mod viewer;
mod workers;

pub use app::App;
pub use config::{
    Config, GITHUB_API_URL, GMAIL_API_URL, GOOGLE_KEYS_URL, HUBSPOT_API_URL, Limits, SLACK_API_URL,
    STRIPE_API_URL,
};
pub use error::CODES;
pub use intake::Apps;
pub use listening::{Providers, Worker as ListenerWorker};
pub use start::{open, openapi, router, run, start};
pub use timer::scheduler::Scheduler;
pub use workers::{retention::activate as forget_old, unheard::activate as republish_unheard};

/// The migrations of the `eventsvc` schema.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations/eventsvc");
