//! Finds what a lost bell or a dead process left behind: orphans, waiting runs that were told something or whose moment
//! has come, queued runs, signals to our own, and runs that are ours by the database but that nothing here works on.
//!
//! What concerns everybody is looked for by one process per period, however many there are; it rings for all. That
//! something is queued each process finds out for itself, so nobody rings for it.

use std::collections::HashSet;
use std::time::Duration;

use shared_models::RunId;
use tokio::time::{MissedTickBehavior, interval};

use crate::app::App;
use crate::approvals::expiry;
use crate::callbacks;
use crate::conversations;
use crate::store::{queue, sweep, turn};
use crate::workers::budgets;

/// Sweeps until the process stops.
pub(crate) async fn run(app: App) -> anyhow::Result<()> {
    let mut ticks = interval(app.runs.sweep.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut strays = HashSet::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = app.draining.cancelled() => return Ok(()),
        }
        if let Err(error) = activate(&app, &mut strays).await {
            tracing::warn!(%error, "the sweep failed; the next one will see the same");
        }
    }
}

async fn activate(app: &App, strays: &mut HashSet<(RunId, i32)>) -> Result<(), sqlx::Error> {
    put_strays_back(app, strays).await?;
    // A little early rather than a period late: timers of two processes never tick alike.
    if sweep::turn(&app.db, app.runs.sweep.mul_f32(0.9)).await? {
        sweep_for_all(app).await?;
    }
    for run in sweep::signalled(&app.db, app.worker).await? {
        app.stage.nudge(run);
    }
    if sweep::anything_queued(&app.db).await? {
        app.bell.ring_here();
    }
    Ok(())
}

async fn sweep_for_all(app: &App) -> Result<(), sqlx::Error> {
    let mut tx = app.db.system("sweeping runs of all tenants").await?;
    sweep::mind_the_indexes(&mut tx).await?;
    let orphans = sweep::requeue_orphans(&mut tx).await?;
    let woken = sweep::requeue_signalled(&mut tx).await? + sweep::requeue_due(&mut tx).await?;
    tx.commit().await?;
    for (tenant, conversation) in turn::left_behind(&app.db).await? {
        if let Err(error) = conversations::settle(app, tenant, conversation).await {
            tracing::warn!(%error, conversation.id = %conversation, "a conversation stays behind for now");
        }
    }
    expiry::sweep(app).await?;
    callbacks::sweep(app).await?;
    budgets::sweep(app).await?;
    if orphans > 0 {
        tracing::info!(orphans, "runs of dead workers are queued again");
        metrics::counter!("engine_runs_orphaned_total").increment(orphans);
    }
    if orphans + woken > 0 {
        app.bell.ring().await;
    }
    Ok(())
}

/// A run whose task has ended without being able to say so, because the database was away just then, say, would keep its
/// place for as long as this process lives. What is a stray in two sweeps in a row is put back: within one, it may be a
/// claim that is just being taken up.
async fn put_strays_back(app: &App, strays: &mut HashSet<(RunId, i32)>) -> Result<(), sqlx::Error> {
    let mut owned = sweep::owned(&app.db, app.worker).await?;
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
