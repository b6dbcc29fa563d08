//! Keeps this worker's lease, three times within its length.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::app::App;
use crate::{lease, store};

/// Beats until the last run has ended, then gives the lease up.
pub(crate) async fn run(app: App) -> anyhow::Result<()> {
    let mut beats = interval(app.runs.lease / 3);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = beats.tick() => beat(&app).await,
            () = app.drained() => break,
        }
    }
    if let Err(error) = store::worker::leave(&app.db, app.worker).await {
        tracing::warn!(%error, "the lease was not given up; it will end by itself");
    }
    Ok(())
}

async fn beat(app: &App) {
    let begun = lease::now();
    let beat = store::worker::heartbeat(&app.db, app.worker, app.runs.lease);
    match tokio::time::timeout(app.runs.lease, beat).await {
        Ok(Ok(())) => {
            app.lease.renew(begun, app.runs.lease);
            app.bell.ring_here();
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "no heartbeat");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Err(_) => tracing::warn!("no heartbeat within the lease"),
    }
}
