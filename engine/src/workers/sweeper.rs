//! Finds what a lost bell or a dead process left behind: orphans, waiting runs that were told something or whose moment
//! has come, queued runs, signals to our own, and runs that are ours by the database but that nothing here works on.

use std::collections::HashSet;

use shared_models::RunId;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::app::App;
use crate::store::{queue, worker};

const PRUNE_EVERY: std::time::Duration = std::time::Duration::from_secs(600);

/// Sweeps until the process stops.
pub(crate) async fn run(app: App) -> anyhow::Result<()> {
    let mut ticks = interval(app.runs.sweep);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pruned = Instant::now();
    let mut strays = HashSet::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = app.draining.cancelled() => return Ok(()),
        }
        if let Err(error) = sweep(&app, &mut strays).await {
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

async fn sweep(app: &App, strays: &mut HashSet<(RunId, i32)>) -> Result<(), sqlx::Error> {
    put_strays_back(app, strays).await?;
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

/// A run whose task has ended without being able to say so, because the database was away just then, say, would keep its
/// place for as long as this process lives. What is a stray in two sweeps in a row is put back: within one, it may be a
/// claim that is just being taken up.
async fn put_strays_back(app: &App, strays: &mut HashSet<(RunId, i32)>) -> Result<(), sqlx::Error> {
    let mut owned = queue::owned(&app.db, app.worker).await?;
    owned.retain(|(_, run, _)| !app.stage.has(*run));
    for &(tenant, run, epoch) in
        owned.iter().filter(|(_, run, epoch)| strays.contains(&(*run, *epoch)))
    {
        tracing::warn!(run.id = %run, "nothing works on this run of ours; it is put back");
        let mut tx = app.db.begin(tenant).await?;
        queue::release(&mut tx, run, epoch, queue::Counted::Yes).await?;
        tx.commit().await?;
    }
    *strays = owned.into_iter().map(|(_, run, epoch)| (run, epoch)).collect();
    Ok(())
}
