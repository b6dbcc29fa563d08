//! Credentials: stored sealed, shown masked, given in plaintext to services inside a grant, audited.
//!
//! Called by people through the gateway (store, list, change, delete), by `engine` and `eventsvc` (grant, resolve).
//! Stores secrets under envelope encryption, grants and a hash-chained audit. Never stored, logged, published or
//! shown to people: a secret's plaintext.

mod app;
pub mod audit;
mod codes;
mod config;
mod error;
mod fields;
mod grantee;
mod http;
mod kinds;
mod ledger;
mod origin;
mod resolve;
mod routes;
mod start;
mod store;
mod vault;
mod workers;

pub use app::App;
pub use codes::ALL as CODES;
pub use config::{Config, RootKeySource};
use error::Error;
pub use ledger::LedgerTask;
pub use routes::{openapi, router};
pub use start::start;

/// The migrations of the `credsvc` schema.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations/credsvc");
