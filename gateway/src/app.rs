//! What handlers are given.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::extract::FromRef;
use dbutil::Db;
use moka::future::Cache;
use pubsub::RelayHandle;
use servicekit::{Problem, Verifier};

use crate::{identity::Identity, key::KeyHash, store};

/// Handles, all cheap to clone.
#[derive(Clone)]
pub struct App {
    pub(crate) db: Db,
    pub(crate) relay: RelayHandle,
    pub(crate) keys: Keys,
    pub(crate) verifier: Verifier,
}

impl FromRef<App> for Verifier {
    fn from_ref(app: &App) -> Self {
        app.verifier.clone()
    }
}

/// API keys as they were a few seconds ago, so that a busy client costs one look-up every few seconds.
#[derive(Clone)]
pub(crate) struct Keys {
    db: Db,
    /// With how often everything had been forgotten when it was looked up.
    known: Cache<KeyHash, (u64, Arc<Identity>)>,
    forgotten: Arc<AtomicU64>,
}

impl Keys {
    pub(crate) fn new(db: Db, believed_for: Duration) -> Self {
        let known = Cache::builder().max_capacity(100_000).time_to_live(believed_for).build();
        Self { db, known, forgotten: Arc::default() }
    }

    /// What a key allows, if that is known without asking the database.
    pub(crate) async fn remembered(&self, hash: KeyHash) -> Option<Arc<Identity>> {
        let (before, identity) = self.known.get(&hash).await?;
        (before == self.forgotten.load(Ordering::SeqCst)).then_some(identity)
    }

    /// Who is behind a key; none when it is unknown, expired or revoked, or its user or tenant is not active.
    pub(crate) async fn find(&self, hash: KeyHash) -> Result<Option<Arc<Identity>>, Problem> {
        // What changes while it is looked up is forgotten before this can be remembered.
        let before = self.forgotten.load(Ordering::SeqCst);
        let mut tx = self.db.system("whose is an API key?").await?;
        let found = store::api_key::resolve(&mut tx, hash).await?;
        tx.commit().await?;
        let Some(identity) = found.map(Arc::new) else { return Ok(None) };
        self.known.insert(hash, (before, identity.clone())).await;
        Ok(Some(identity))
    }

    /// Forgets everything: somebody's role, teams or keys have changed. Other replicas notice within seconds.
    pub(crate) fn forget(&self) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.known.invalidate_all();
    }
}
