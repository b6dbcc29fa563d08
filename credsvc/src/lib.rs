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
mod finish;
mod grantee;
mod http;
mod keys;
mod ledger;
mod listeners;
mod oauth;
mod origin;
mod outgoing;
mod probe;
mod resolve;
mod roots;
pub mod rotation;
mod routes;
mod sigv4;
mod start;
mod store;
mod types;
mod vault;
mod workers;

pub use app::{App, Tasks};
pub use codes::ALL as CODES;
pub use config::{Config, RootKeySource, RootKeySpec};
use error::Error;
pub use ledger::LedgerTask;
pub use oauth::renewals::RenewalsTask;
pub use routes::{openapi, router};
pub use start::start;
pub use vault::{KmsConfig, SecretSource, TransitConfig, TransitEntry, TransitLogin};

/// The migrations of the `credsvc` schema.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations/credsvc");
