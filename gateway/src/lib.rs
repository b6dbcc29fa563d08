//! Identity and the public edge: tenants, teams, people, roles and API keys; one public address for all services.
//!
//! Called by everybody outside (public listener: API keys only) and by the services (internal listener: tokens only).
//! Stores who belongs where, hashes of keys, the services' public keys and what administrators changed. Never stored:
//! an API key itself, and nothing of the business that it passes on. `/internal/*` is never passed on.

mod app;
pub mod bootstrap;
mod codes;
mod config;
mod edge;
mod error;
mod found_tenant;
mod http;
mod identity;
mod key;
mod merge;
mod origin;
mod routes;
mod start;
mod store;

pub use app::App;
pub use codes::ALL as CODES;
pub use config::{Config, Limits, Upstreams};
use error::Error;
pub use merge::merge;
pub use routes::openapi;
use shared_models::wire_time;
pub use start::start;

/// The migrations of the `gateway` schema.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations/gateway");
