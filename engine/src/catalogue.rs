//! What runs start with, kept in memory.
//!
//! Invariant: nothing is decided by what is kept here alone. A run is made in a statement that compares the tenant's
//! revision (`engine.catalogue`, raised by every change of an agent or a tool) with the one its snapshot was read at,
//! and a refusal is only given after a fresh look.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use agentcore::validate::Schema;
use dbutil::{Db, TenantTx};
use serde_json::Value;
use shared_models::{AgentId, TenantId};

use crate::create::NewRun;
use crate::error::Error;
use crate::snapshot::{self, RunSnapshot};
use crate::store;

/// Agents that are kept; when there are more, all are read anew.
const MOST: usize = 4096;

/// A snapshot that many runs share, with what is worked out of it once.
#[derive(Debug)]
pub(crate) struct Pinned {
    snapshot: RunSnapshot,
    /// The tenant's revision it was read at.
    pub(crate) revision: i64,
    /// Nothing in its instructions differs from run to run.
    plain: bool,
    /// The arguments' schema of each tool, in the order of the snapshot's tools.
    checkers: Arc<[OnceLock<Result<Schema, String>>]>,
}

impl Pinned {
    pub(crate) fn new(snapshot: RunSnapshot, revision: i64) -> Self {
        let checkers = snapshot.tools.iter().map(|_| OnceLock::new()).collect();
        let plain = snapshot.is_plain();
        Self { snapshot, revision, plain, checkers }
    }

    /// The same with what is known of one run filled in; itself when that is nothing.
    pub(crate) fn filled(self: Arc<Self>, new: &NewRun) -> Result<Arc<Self>, Error> {
        if self.plain && new.variables.is_empty() {
            return Ok(self);
        }
        let Some(snapshot) = self.snapshot.filled(new)? else { return Ok(self) };
        let (revision, checkers) = (self.revision, self.checkers.clone());
        Ok(Arc::new(Self { snapshot, revision, plain: true, checkers }))
    }

    /// The arguments of a call, if they fit the tool's schema; `place` is the tool's among the snapshot's.
    pub(crate) fn arguments(&self, place: usize, arguments: &str) -> Result<Value, String> {
        let (Some(tool), Some(checker)) = (self.tools.get(place), self.checkers.get(place)) else {
            return Err("there is no such tool".into());
        };
        let broken = |why: &String| format!("the tool's own schema is broken: {why}");
        let checker = checker.get_or_init(|| Schema::new(&tool.parameters));
        checker.as_ref().map_err(broken)?.check_arguments(arguments)
    }
}

impl Deref for Pinned {
    type Target = RunSnapshot;

    fn deref(&self) -> &RunSnapshot {
        &self.snapshot
    }
}

/// Which agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Which {
    Id(AgentId),
    Name(String),
}

type Kept = HashMap<(TenantId, Which), Arc<Pinned>>;

/// The agents that were asked for. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Catalogue {
    kept: Arc<Mutex<Kept>>,
}

impl Catalogue {
    /// The agent as it was when it was last read. Whoever makes a run of it learns whether it still is; whoever refuses
    /// one because of it asks for it [fresh](Self::fresh) first.
    pub(crate) async fn get(
        &self,
        db: &Db,
        tenant: TenantId,
        which: &Which,
    ) -> Result<Option<Arc<Pinned>>, Error> {
        let kept = self.kept().get(&(tenant, which.clone())).cloned();
        match kept {
            Some(pinned) => Ok(Some(pinned)),
            None => self.fresh(db, tenant, which).await,
        }
    }

    /// The agent as it is now.
    pub(crate) async fn fresh(
        &self,
        db: &Db,
        tenant: TenantId,
        which: &Which,
    ) -> Result<Option<Arc<Pinned>>, Error> {
        let mut tx = db.begin(tenant).await?;
        // First: a change that is committed meanwhile makes the snapshot look older than it is, which does no harm.
        let revision = store::agent::revision(&mut tx).await?;
        let Some(snapshot) = read(&mut tx, which).await? else {
            self.kept().remove(&(tenant, which.clone()));
            return Ok(None);
        };
        drop(tx);
        let pinned = Arc::new(Pinned::new(snapshot, revision));
        let mut kept = self.kept();
        if kept.len() >= MOST {
            kept.clear();
        }
        kept.insert((tenant, which.clone()), pinned.clone());
        Ok(Some(pinned))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The agent as a run would start with it now.
pub(crate) async fn read(tx: &mut TenantTx, which: &Which) -> Result<Option<RunSnapshot>, Error> {
    let agent = match which {
        Which::Id(agent) => *agent,
        Which::Name(name) => match store::run::agent_named(tx, name).await? {
            Some(agent) => agent,
            None => return Ok(None),
        },
    };
    snapshot::build(tx, agent, None).await
}
