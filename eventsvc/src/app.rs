//! What handlers and workers share: handles, built once.

use std::sync::Arc;

use axum::extract::FromRef;
use dbutil::Db;
use pubsub::{Bus, RelayHandle};
use servicekit::{Verifier, egress::Egress};
use tokio::sync::Notify;
use url::Url;

use crate::{
    clients::{credsvc::Credsvc, engine::Engine, google::Google},
    clock::Clock,
    config::Limits,
    flow,
    hearing::Hearing,
    hooks::Hooks,
    intake::{Apps, Committer, Guard, Patience},
    listening::{ImapTrust, Providers},
    options::Verify,
    secrets::Secrets,
    stats::Stats,
};

/// The service's handles. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// Its database.
    pub(crate) db: Db,
    /// Its connection to NATS.
    pub(crate) bus: Bus,
    /// Checks callers' tokens.
    pub(crate) verifier: Verifier,
    /// The vault.
    pub(crate) credsvc: Credsvc,
    /// The engine.
    pub(crate) engine: Engine,
    /// Google's public keys.
    pub(crate) google: Google,
    /// Who may deliver, and how often.
    pub(crate) guard: Guard,
    /// The secrets of the platform's apps at providers.
    pub(crate) apps: Arc<Apps>,
    /// Which mail servers are believed to be who they say.
    pub(crate) imap: ImapTrust,
    /// Where the world reaches the platform, if anybody said so.
    pub(crate) public_url: Option<Url>,
    /// Places for senders that wait for an answer.
    pub(crate) patience: Patience,
    /// The way of deliveries into the database.
    pub(crate) committer: Committer,
    /// The way of events onto the bus.
    pub(crate) relay: RelayHandle,
    /// What listens where.
    pub(crate) hooks: Hooks,
    /// What deliveries are verified with.
    pub(crate) secrets: Secrets,
    /// Counters not yet written down.
    pub(crate) stats: Stats,
    /// The database's clock.
    pub(crate) clock: Clock,
    /// How far the engine has acknowledged and told, minute by minute.
    pub(crate) hearing: Arc<Hearing>,
    /// What may be used.
    pub(crate) limits: Limits,
    /// Wakes the worker that releases what was held and takes grants back.
    pub(crate) bell: Arc<Notify>,
    /// Wakes the task that fires what waits for its turn.
    pub(crate) flow: Arc<flow::Bell>,
    /// Wakes what looks at sources.
    pub(crate) listeners: Arc<Notify>,
    /// The way out.
    pub(crate) egress: Egress,
    /// Where the providers' interfaces are.
    pub(crate) providers: Providers,
    /// How a push of Gmail's to the platform's address proves itself, if the operator has set that up.
    pub(crate) gmail_push: Option<Verify>,
    /// Wakes the task that fires timers.
    pub(crate) timers: Arc<Notify>,
}

impl FromRef<App> for Verifier {
    fn from_ref(app: &App) -> Self {
        app.verifier.clone()
    }
}

impl App {
    /// The way of deliveries into the database.
    pub fn committer(&self) -> &Committer {
        &self.committer
    }

    /// The service's database.
    pub fn db(&self) -> &Db {
        &self.db
    }
}
