//! A sender that waits for the run's answer. The end of the run is read from the ledger, where whichever replica hears of it
//! writes it, so it does not matter which one the sender is connected to.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use shared_models::{EventId, RunId, TenantId};
use tokio::{sync::Semaphore, time::Instant};

use crate::{app::App, clients::engine::Ended, store};

/// Senders that wait at the same time in one process; more are answered at once.
const MOST: usize = 512;
/// Between two looks at the ledger.
const PAUSE: Duration = Duration::from_millis(150);

/// Places for senders that wait.
#[derive(Clone, Debug)]
pub(crate) struct Patience(Arc<Semaphore>);

impl Default for Patience {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
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
    let _place = app.patience.0.try_acquire().ok()?;
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
        tokio::time::sleep(PAUSE).await;
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
