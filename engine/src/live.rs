//! What viewers see while it happens: committed records, and the words of a model as they come.
//!
//! Everything goes over core NATS on the run's own subject and may be lost; the journal is the truth. Nothing is sent of a
//! run that nobody watches: viewers ask for it, again and again while they look on. Deltas carry the
//! block they belong to (the sequence of the record by which the model was called) and their offset in it, so that a
//! viewer can tell what it has seen. Who joins late asks the owner to show the block so far.

mod block;
mod watched;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use pubsub::Bus;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared_models::{RunId, TenantId};
use tokio::sync::Notify;

use block::Block;
pub(crate) use block::{Next, Seen};
use watched::Watched;

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
        if let Some(arguments) = self.data.get_mut("arguments") {
            *arguments = json!("redacted");
        }
        for field in ["/error", "/reason", "/failure/message", "/question"] {
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
    /// Whose words they are, in a tree of agents; empty for the run's own agent.
    #[serde(default)]
    pub(crate) path: Vec<String>,
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

impl Live {
    /// Whether this, in JSON, may tell of a run's end or of a wait; seen without reading all of it.
    pub(crate) fn settles(json: &[u8]) -> bool {
        let delta = json.starts_with(br#"{"delta""#);
        let other = json.starts_with(br#"{"record""#)
            && !["finished", "waiting", "paused"].iter().any(|kind| {
                let kind = format!(r#","kind":"{kind}","data":"#);
                json.windows(kind.len()).any(|window| window == kind.as_bytes())
            });
        !delta && !other
    }
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

    fn blocks(&self) -> MutexGuard<'_, Vec<Block>> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// Who waits in this process for a run to end or to wait.
    awaited: Arc<Mutex<HashMap<RunId, Arc<Notify>>>>,
    watched: Watched,
}

/// Waits for a run; see [`Stage::settling`].
pub(crate) struct Settling {
    rung: Arc<Notify>,
    run: RunId,
    awaited: Arc<Mutex<HashMap<RunId, Arc<Notify>>>>,
}

impl Settling {
    /// Waits until the run settles; at once when it has since this was last asked.
    pub(crate) async fn settled(&self) {
        self.rung.notified().await;
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.run);
    }
}

/// A run under way in this process.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) tenant: TenantId,
    pub(crate) run: RunId,
    /// Rung when the run was told something.
    pub(crate) nudge: Notify,
    told: AtomicBool,
    /// The newest of each conversation that has a model speaking.
    blocks: Mutex<Vec<Block>>,
}

impl Stage {
    pub(crate) fn new(bus: Bus) -> Self {
        let empty = Arc::new(Notify::new());
        let (awaited, watched) = (Arc::default(), Watched::default());
        Self { bus, active: Arc::default(), empty, awaited, watched }
    }

    /// `told` says whether something may have been said to the run before we came, which is then still to be read.
    pub(crate) fn enter(&self, tenant: TenantId, run: RunId, told: bool) -> Arc<Active> {
        let told = AtomicBool::new(told);
        let active = Active { tenant, run, nudge: Notify::new(), told, blocks: Mutex::default() };
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

    /// Shows a record, which is given as [`Live::Record`] in JSON, or when it is too large that there is one.
    pub(crate) async fn record(&self, tenant: TenantId, run: RunId, seq: i64, record: Vec<u8>) {
        if record.is_empty() || record.len() > LARGEST {
            return self.send(tenant, run, &Live::Written { seq }).await;
        }
        self.publish(tenant, run, record).await;
    }

    /// From now until it is dropped: rung when the run has ended or waits. Only in the process that drives it.
    pub(crate) fn settling(&self, run: RunId) -> Settling {
        let rung = self.awaited().entry(run).or_default().clone();
        Settling { rung, run, awaited: self.awaited.clone() }
    }

    /// The run has ended, or waits for something outside.
    pub(crate) fn settled(&self, run: RunId) {
        if let Some(rung) = self.awaited().get(&run) {
            rung.notify_one();
        }
    }

    fn awaited(&self) -> MutexGuard<'_, HashMap<RunId, Arc<Notify>>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a new block of the conversation at a path; what was streamed of it before is void.
    pub(crate) fn open_block(active: &Active, path: &str, block: i64) {
        let mut blocks = active.blocks();
        blocks.retain(|block| !block.is_of(path));
        blocks.push(Block::new(path, block));
    }

    /// Adds words to the block of the conversation at a path, and shows them.
    pub(crate) async fn say(&self, active: &Active, path: &str, part: Part, text: &str) {
        let delta = {
            let mut blocks = active.blocks();
            let Some(block) = blocks.iter_mut().find(|block| block.is_of(path)) else { return };
            block.push(part, text)
        };
        if self.is_watched(active.run) {
            self.send(active.tenant, active.run, &Live::Delta(delta)).await;
        }
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

    /// Notes that a run has viewers somewhere, whether or not it is ours by now. Shows the block so far of one that is;
    /// and as nothing was shown until now, sends the first viewer to the journal for what it may have missed.
    pub(crate) async fn watch(&self, run: RunId) {
        let first = self.watched.note(run);
        let Some(active) = self.lock().get(&run).cloned() else { return };
        if first {
            self.send(active.tenant, run, &Live::Written { seq: i64::MAX }).await;
        }
        let so_far: Vec<Delta> = active.blocks().iter().flat_map(Block::so_far).collect();
        for delta in so_far {
            self.send(active.tenant, run, &Live::Delta(delta)).await;
        }
    }

    /// The questions of [`Stage::ask`].
    pub(crate) async fn questions(&self) -> anyhow::Result<async_nats::Subscriber> {
        Ok(self.bus.client().subscribe(ASK).await?)
    }

    /// Whether anybody looks on.
    pub(crate) fn is_watched(&self, run: RunId) -> bool {
        self.watched.has(run)
    }

    async fn send(&self, tenant: TenantId, run: RunId, live: &Live) {
        self.publish(tenant, run, serde_json::to_vec(live).unwrap_or_default()).await;
    }

    async fn publish(&self, tenant: TenantId, run: RunId, bytes: Vec<u8>) {
        if !self.watched.has(run) {
            return;
        }
        // Without a connection messages would pile up in the client until it makes the run wait.
        if !self.bus.is_connected() {
            return;
        }
        let sent = self.bus.client().publish(subject(tenant, run), bytes.into()).await;
        if let Err(error) = sent {
            tracing::debug!(%error, "viewers are not told; they will read the journal");
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Arc<Active>>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn subject(tenant: TenantId, run: RunId) -> String {
    format!("live.{tenant}.{run}")
}
