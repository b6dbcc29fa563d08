//! A sender that waits for the run's answer. The end of the run is read from the ledger, where whichever replica hears of it
//! writes it, so it does not matter which one the sender is connected to: the one that hears of it wakes those who wait here,
//! and the others look every now and then.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use shared_models::{EventId, RunId, TenantId};
use tokio::{sync::Notify, time::Instant};

use crate::{app::App, clients::engine::Ended, store};

/// Senders that wait at the same time in one process; more are answered at once.
const MOST: usize = 512;
/// Between two looks at the ledger.
const PAUSE: Duration = Duration::from_millis(150);

/// Senders that wait, by what they wait for. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patience(Arc<Mutex<HashMap<EventId, Arc<Notify>>>>);

/// A place among them; given up when dropped.
struct Place<'a> {
    all: &'a Patience,
    event: EventId,
    bell: Arc<Notify>,
}

impl Patience {
    /// Something was heard of these events' runs, and committed.
    pub(crate) fn heard(&self, events: impl Iterator<Item = EventId>) {
        let waiting = self.waiting();
        if waiting.is_empty() {
            return;
        }
        for bell in events.filter_map(|event| waiting.get(&event)) {
            bell.notify_one();
        }
    }

    fn place(&self, event: EventId) -> Option<Place<'_>> {
        let mut waiting = self.waiting();
        if waiting.len() >= MOST {
            return None;
        }
        let bell = Arc::<Notify>::default();
        waiting.insert(event, bell.clone());
        Some(Place { all: self, event, bell })
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<EventId, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.all.waiting().remove(&self.event);
    }
}

/// What a sender waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub tenant: TenantId,
    pub event_id: EventId,
    pub within: Duration,
}

/// How the run ended.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub run_id: Option<RunId>,
    pub status: String,
    pub output: Option<Value>,
    pub error: Option<String>,
}

/// Waits for the end of the run; none when it has not come in time, or nobody can wait now.
pub(crate) async fn wait(app: &App, wanted: Wanted) -> Option<Response> {
    let place = app.patience.place(wanted.event_id)?;
    let until = Instant::now() + wanted.within;
    loop {
        match ended(app, &wanted).await {
            Ok(Some(response)) => return Some(response),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "a run's answer cannot be read");
                return None;
            }
        }
        if Instant::now() + PAUSE >= until {
            return None;
        }
        // A bell that rang since the ledger was read is heard at once.
        let _ = tokio::time::timeout(PAUSE, place.bell.notified()).await;
    }
}

async fn ended(app: &App, wanted: &Wanted) -> anyhow::Result<Option<Response>> {
    let mut tx = app.db.begin(wanted.tenant).await?;
    let found = store::firing::end(&mut tx, wanted.event_id).await?;
    tx.commit().await?;
    let Some(end) = found else { return Ok(None) };
    let Some(run) = end.run_id.filter(|_| end.run_status.is_some()) else {
        let status = "refused".to_owned();
        return Ok(Some(Response { run_id: None, status, output: None, error: end.reason }));
    };
    let Ended { output, parsed, error } = app.engine.run(wanted.tenant, run).await?;
    Ok(Some(Response {
        run_id: Some(run),
        status: end.run_status.unwrap_or_default(),
        output: parsed.or(output.map(Value::String)),
        error: error.map(|error| error.message),
    }))
}
