//! What viewers see while it happens: committed records, and the words of a model as they come.
//!
//! Everything goes over core NATS on the run's own subject and may be lost; the journal is the truth. Deltas carry the
//! block they belong to (the sequence of the record by which the model was called) and their offset in it, so that a
//! viewer can tell what it has seen. Who joins late asks the owner to show the block so far.

mod block;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use pubsub::Bus;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared_models::{RunId, TenantId};
use tokio::sync::Notify;

use block::Block;
pub(crate) use block::{Next, Seen};

/// A record as people see it: what it refers to stands in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub(crate) struct RunEvent {
    pub(crate) seq: i64,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    pub(crate) at: DateTime<Utc>,
    pub(crate) run_id: RunId,
    /// Where in a tree of agents it happened; empty for the run's own agent.
    pub(crate) path: Vec<String>,
    /// What happened: `created`, `input`, `started`, `model_called`, `model_replied`, …, `finished`.
    pub(crate) kind: String,
    pub(crate) data: Value,
}

impl RunEvent {
    pub(crate) const LAST: &str = "finished";

    /// Puts what the record refers to in the reference's place.
    pub(crate) fn resolve(&mut self, message: Option<Value>) {
        if let (Some(message), Some(place)) = (message, self.data.get_mut("message")) {
            *place = message;
        }
    }

    /// The same for somebody who may not see content: that there was something, and how long it was.
    pub(crate) fn redact(&mut self) {
        if let Some(message) = self.data.get_mut("message") {
            *message = redacted(message);
        }
        for field in ["/error", "/reason", "/failure/message"] {
            if let Some(text) = self.data.pointer_mut(field).filter(|text| text.is_string()) {
                *text = json!("redacted");
            }
        }
    }
}

/// What stands for a message that may not be shown.
pub(crate) fn redacted(message: &Value) -> Value {
    json!({ "role": message["role"], "redacted": true, "bytes": message.to_string().len() })
}

/// Which of the model's two voices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    Text,
    Reasoning,
}

/// A piece of what the model says, at `offset` bytes into its part of the block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub(crate) struct Delta {
    pub(crate) block: i64,
    pub(crate) part: Part,
    pub(crate) offset: usize,
    pub(crate) text: String,
}

/// What travels on a run's subject.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Live {
    Record(RunEvent),
    /// There is a record, to be read from the journal.
    Written {
        seq: i64,
    },
    Delta(Delta),
}

/// Where viewers ask owners for the block so far; the payload names the run.
const ASK: &str = "live.ask";

/// Larger ones are left for the viewer to read from the journal.
const LARGEST: usize = 256 * 1024;

impl Active {
    /// Whether the run may have been told something since this was last asked.
    pub(crate) fn was_told(&self) -> bool {
        self.told.swap(false, Ordering::AcqRel)
    }

    fn tell(&self) {
        self.told.store(true, Ordering::Release);
        self.nudge.notify_one();
    }
}

/// The runs this process owns, and the way to their viewers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Stage {
    bus: Bus,
    active: Arc<Mutex<HashMap<RunId, Arc<Active>>>>,
    empty: Arc<Notify>,
}

/// A run under way in this process.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) tenant: TenantId,
    pub(crate) run: RunId,
    /// Rung when the run was told something.
    pub(crate) nudge: Notify,
    told: AtomicBool,
    block: Mutex<Block>,
}

impl Stage {
    pub(crate) fn new(bus: Bus) -> Self {
        Self { bus, active: Arc::default(), empty: Arc::new(Notify::new()) }
    }

    pub(crate) fn enter(&self, tenant: TenantId, run: RunId) -> Arc<Active> {
        // What was said before we came is still to be read.
        let told = AtomicBool::new(true);
        let active = Active { tenant, run, nudge: Notify::new(), told, block: Mutex::default() };
        let active = Arc::new(active);
        self.lock().insert(run, active.clone());
        active
    }

    /// Forgets a run, unless it has been claimed anew meanwhile.
    pub(crate) fn leave(&self, gone: &Arc<Active>) {
        let mut active = self.lock();
        if active.get(&gone.run).is_some_and(|present| Arc::ptr_eq(present, gone)) {
            active.remove(&gone.run);
        }
        if active.is_empty() {
            self.empty.notify_waiters();
        }
    }

    pub(crate) fn has(&self, run: RunId) -> bool {
        self.lock().contains_key(&run)
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Waits until no run is under way.
    pub(crate) async fn emptied(&self) {
        loop {
            let emptied = self.empty.notified();
            if self.count() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Tells a run of ours that it was told something.
    pub(crate) fn nudge(&self, run: RunId) {
        if let Some(active) = self.lock().get(&run) {
            active.tell();
        }
    }

    /// Shows a record, or that there is one.
    pub(crate) async fn record(&self, tenant: TenantId, run: RunId, record: &Live) {
        self.send(tenant, run, record).await;
    }

    /// Begins a new block; what was streamed before is void.
    pub(crate) fn open_block(active: &Active, block: i64) {
        *active.block.lock().unwrap_or_else(PoisonError::into_inner) = Block::new(block);
    }

    /// Adds words to the block and shows them.
    pub(crate) async fn say(&self, active: &Active, part: Part, text: &str) {
        let delta = active.block.lock().unwrap_or_else(PoisonError::into_inner).push(part, text);
        self.send(active.tenant, active.run, &Live::Delta(delta)).await;
    }

    pub(crate) async fn subscribe(
        &self,
        tenant: TenantId,
        run: RunId,
    ) -> anyhow::Result<async_nats::Subscriber> {
        Ok(self.bus.client().subscribe(subject(tenant, run)).await?)
    }

    /// Asks whoever owns the run to show the block so far.
    pub(crate) async fn ask(&self, run: RunId) {
        if !self.bus.is_connected() {
            return;
        }
        if let Err(error) = self.bus.client().publish(ASK, run.to_string().into()).await {
            tracing::debug!(%error, "nobody can be asked for the block so far");
        }
    }

    /// The questions of [`Stage::ask`].
    pub(crate) async fn questions(&self) -> anyhow::Result<async_nats::Subscriber> {
        Ok(self.bus.client().subscribe(ASK).await?)
    }

    /// Shows the block so far of a run of ours.
    pub(crate) async fn answer(&self, run: RunId) {
        let Some(active) = self.lock().get(&run).cloned() else { return };
        let so_far = active.block.lock().unwrap_or_else(PoisonError::into_inner).so_far();
        for delta in so_far {
            self.send(active.tenant, run, &Live::Delta(delta)).await;
        }
    }

    async fn send(&self, tenant: TenantId, run: RunId, live: &Live) {
        // Without a connection messages would pile up in the client until it makes the run wait.
        if !self.bus.is_connected() {
            return;
        }
        let text = |live: &Live| serde_json::to_vec(live).unwrap_or_default();
        let mut bytes = text(live);
        if let (true, Live::Record(event)) = (bytes.len() > LARGEST, live) {
            bytes = text(&Live::Written { seq: event.seq });
        }
        let sent = self.bus.client().publish(subject(tenant, run), bytes.into()).await;
        if let Err(error) = sent {
            tracing::debug!(%error, "viewers are not told; they will read the journal");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, Arc<Active>>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn subject(tenant: TenantId, run: RunId) -> String {
    format!("live.{tenant}.{run}")
}
