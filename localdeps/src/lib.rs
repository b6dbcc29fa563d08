//! Private Postgres and NATS servers as child processes, for `switchyard up` and for tests.
//!
//! The servers are the ones installed on the machine, started on free ports of 127.0.0.1 with
//! passwords, as an unprivileged user when we are root. They end with the process that started
//! them, also when it is killed. Nothing here knows what the servers are used for.
//!
//! ```no_run
//! # async fn example() -> Result<(), localdeps::Error> {
//! use localdeps::{Home, Nats, Postgres, PostgresOptions};
//!
//! let home = Home::temporary()?;
//! let postgres = Postgres::start(PostgresOptions { durable: false, ..home.postgres() }).await?;
//! let nats = Nats::start(home.nats("authorization { user: a, password: b }")).await?;
//! # drop((postgres, nats)); Ok(()) }
//! ```

mod child;
mod error;
pub mod find;
mod home;
mod lock;
mod nats;
mod postgres;

pub use error::Error;
pub use home::{Home, ServerUser};
pub use lock::{Lock, Status};
pub use nats::{Nats, NatsOptions};
pub use postgres::{Postgres, PostgresOptions};
