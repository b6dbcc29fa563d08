//! What handlers, listeners and workers share. Built once; cheap to clone.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::extract::FromRef;
use dbutil::{Db, DbConfig};
use pubsub::{Bus, RelayHandle};
use servicekit::{Lifecycle, Verifier, egress::Egress};
use shared_models::{RunId, WorkerId};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::bell::Bell;
use crate::budgets::{Budgets, Rouse};
use crate::callbacks::CallbackKey;
use crate::catalogue::Catalogue;
use crate::clients::{credsvc::Credsvc, eventsvc::Eventsvc, gateway::Gateway};
use crate::committer::Committer;
use crate::config::RunConfig;
use crate::creator::Creator;
use crate::lease::Lease;
use crate::live::Stage;
use crate::models::Models;
use crate::prices::Prices;
use crate::reader::Reader;
use crate::tools::mcp::McpPool;
use crate::webhooks::Webhooks;

/// The engine. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<Parts>);

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl From<Parts> for App {
    fn from(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

/// What it is made of.
pub(crate) struct Parts {
    pub(crate) db: Db,
    /// For writers that keep connections of their own.
    pub(crate) db_config: DbConfig,
    pub(crate) bus: Bus,
    pub(crate) verifier: Verifier,
    pub(crate) relay: RelayHandle,
    pub(crate) egress: Egress,
    /// Connections to MCP servers.
    pub(crate) mcp: Arc<McpPool>,
    pub(crate) models: Arc<Models>,
    pub(crate) prices: Arc<Prices>,
    pub(crate) budgets: Arc<Budgets>,
    pub(crate) credsvc: Credsvc,
    pub(crate) eventsvc: Eventsvc,
    pub(crate) gateway: Gateway,
    pub(crate) runs: Arc<RunConfig>,
    pub(crate) committer: Committer,
    pub(crate) creator: Creator,
    pub(crate) catalogue: Catalogue,
    pub(crate) reader: Reader,
    pub(crate) bell: Bell,
    /// Whether runs were left in the queue when it was last looked at: a slot that becomes free is worth another look.
    pub(crate) backlog: Arc<AtomicBool>,
    pub(crate) stage: Stage,
    /// This process as an owner of runs.
    pub(crate) worker: WorkerId,
    pub(crate) lease: Arc<Lease>,
    /// What tokens of calls are made of that others answer later.
    pub(crate) callback_key: CallbackKey,
    /// Telling tenants of their runs.
    pub(crate) webhooks: Arc<Webhooks>,
    /// Rung when an agent has been deleted.
    pub(crate) grants_due: Arc<Notify>,
    /// For what may outlive a request.
    pub(crate) life: Lifecycle,
    /// Cancelled when the process should finish what it does and stop.
    pub(crate) draining: CancellationToken,
}

impl FromRef<App> for Verifier {
    fn from_ref(app: &App) -> Self {
        app.verifier.clone()
    }
}

impl App {
    /// Waits until the process stops and its last run has ended or been handed over.
    pub(crate) async fn drained(&self) {
        self.draining.cancelled().await;
        self.stage.emptied().await;
    }

    /// The same when runs under way were told something besides.
    pub(crate) async fn announce_with(&self, told: &[RunId]) {
        self.announce().await;
        for run in told {
            self.bell.ring_for(*run).await;
        }
    }

    /// After a commit that changed budgets: tells those whom that concerns.
    pub(crate) async fn rouse(&self, rouse: Rouse) {
        if rouse.events {
            self.relay.ring();
        }
        for run in rouse.runs {
            self.bell.ring_for(run).await;
        }
    }

    /// After a commit that made or woke runs: tells the world and whoever may take them.
    pub(crate) async fn announce(&self) {
        self.relay.ring();
        self.bell.ring().await;
    }
}
