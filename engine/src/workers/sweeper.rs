//! Finds what a lost bell or a dead process left behind: orphans, waiting runs that were told something or whose moment
//! has come, queued runs, signals to our own.

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::app::App;
use crate::store::{queue, worker};

const PRUNE_EVERY: std::time::Duration = std::time::Duration::from_secs(600);

/// Sweeps until the process stops.
pub(crate) async fn run(app: App) -> anyhow::Result<()> {
    let mut ticks = interval(app.runs.sweep);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pruned = Instant::now();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = app.draining.cancelled() => return Ok(()),
        }
        if let Err(error) = sweep(&app).await {
            tracing::warn!(%error, "the sweep failed; the next one will see the same");
        }
        if pruned.elapsed() > PRUNE_EVERY {
            pruned = Instant::now();
            if let Err(error) = worker::prune(&app.db).await {
                tracing::warn!(%error, "old workers were not forgotten");
            }
        }
    }
}

async fn sweep(app: &App) -> Result<(), sqlx::Error> {
    let orphans = queue::requeue_orphans(&app.db).await?;
    if orphans > 0 {
        tracing::info!(orphans, "runs of dead workers are queued again");
        metrics::counter!("engine_runs_orphaned_total").increment(orphans);
    }
    let woken = queue::requeue_signalled(&app.db).await? + queue::requeue_due(&app.db).await?;
    for run in queue::signalled(&app.db, app.worker).await? {
        app.stage.nudge(run);
    }
    if orphans + woken > 0 || queue::anything_queued(&app.db).await? {
        app.bell.ring().await;
    }
    Ok(())
}
