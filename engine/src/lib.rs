//! Agents and runs: what an agent is, and the durable execution of it.
//!
//! Called by people through the gateway and by `eventsvc` (is there such an agent?). Stores agents, tools, runs, their
//! journals and effects. Never stores a secret: credentials are resolved for each call and forgotten after it.
//!
//! A run is a journal. What happens to it is committed before the next thing is begun, so any process can go on where
//! another one stopped: see [`drive`](crate::drive) for the order of things.

mod app;
mod approvals;
mod bell;
mod budgets;
mod call_key;
mod callbacks;
mod cases;
mod catalogue;
mod clients;
mod codes;
mod committer;
mod config;
mod conversations;
mod crash_points;
mod create;
mod creator;
mod definition;
mod drive;
mod error;
mod evaluations;
mod fork;
mod going_on;
mod grants;
mod hooks;
mod http;
mod journal;
mod lease;
mod listeners;
mod live;
mod lost_tools;
mod models;
mod pauses;
mod prices;
mod probe;
mod reader;
mod reconnect;
mod record;
mod replay;
mod routes;
mod run_diff;
mod snapshot;
mod start;
mod store;
mod swarm;
mod tell_many;
mod template;
mod toolbox;
mod tools;
mod transcript;
mod visibility;
mod webhooks;
mod workers;

pub use codes::ALL as CODES;
pub use config::{Config, RunConfig};
pub use crash_points::CrashPoints;
pub use models::{ModelsConfig, ProviderConfig};
pub use routes::openapi;
pub use start::{Engine, open, start};
pub use webhooks::WebhookConfig;

/// The migrations of the `engine` schema.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations/engine");
