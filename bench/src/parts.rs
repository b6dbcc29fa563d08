//! The raw parts: what the machine gives to a program that does one thing and nothing else.
//!
//! Each is a process of its own, as our services are, on a runtime with a thread per core.

mod groups;
mod nats;
mod rows;
mod select;
mod web;

use std::net::SocketAddr;

use clap::Subcommand;

use crate::say;

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Part {
    /// axum with nothing behind it.
    Axum,
    /// axum, and one insert per request over a pool of 32 connections.
    Insert {
        #[arg(long)]
        database: String,
    },
    /// axum, and the same rows in groups: one statement and one commit for all that wait.
    Groups {
        #[arg(long)]
        database: String,
    },
    /// `JetStream` publishes, each with a message id, so many waiting for their acknowledgement at once.
    Publish {
        #[arg(long)]
        url: String,
        #[arg(long)]
        user: String,
        #[arg(long)]
        password: String,
        #[arg(long)]
        in_flight: usize,
        #[arg(long)]
        millis: u64,
    },
    /// Selects of one row by key over so many connections.
    Select {
        /// Opens what the row has sealed, with AES-256-GCM and a key in memory.
        #[arg(long)]
        open: bool,
        #[arg(long)]
        database: String,
        #[arg(long)]
        connections: u32,
        #[arg(long)]
        millis: u64,
    },
}

/// Plays the part: servers until they are told to stop, clients until they are done, saying their figure.
pub(crate) async fn play(part: Part) -> anyhow::Result<()> {
    match part {
        Part::Axum => web::serve(web::bare()).await,
        Part::Insert { database } => web::serve(rows::router(&database).await?).await,
        Part::Groups { database } => groups::serve(&database).await,
        Part::Publish { url, user, password, in_flight, millis } => {
            let figure = nats::publish(&url, &user, &password, in_flight, millis).await?;
            say(&serde_json::to_string(&figure)?)
        }
        Part::Select { open, database, connections, millis } => {
            let figure = select::by_key(&database, connections, millis, open).await?;
            say(&serde_json::to_string(&figure)?)
        }
    }
}

/// Tells the parent where a server listens.
pub(crate) fn listening(address: SocketAddr) -> anyhow::Result<()> {
    say(&format!("listening on {address}"))
}
