//! Takes queued runs and drives them.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt as _;
use servicekit::Lifecycle;
use tracing::Instrument as _;

use crate::app::App;
use crate::drive::{self, Fresh};
use crate::store::queue::{self, Claimed};
use crate::store::sweep;

/// One claim takes at most so many, so that other processes get their share.
const MOST: usize = 64;
/// After a failure on our side; the run is somebody else's turn then.
const PAUSE: Duration = Duration::from_millis(500);

/// Claims whenever the bell rings, until the process stops; then waits for what is under way and closes the journal.
pub(crate) async fn run(app: App, life: Lifecycle) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = app.bell.heard() => {}
            () = app.draining.cancelled() => break,
        }
        while app.lease.holds() && !app.draining.is_cancelled() {
            let room = app.runs.slots.saturating_sub(app.stage.count()).min(MOST);
            match claim(&app, room).await {
                Ok(claimed) => {
                    let full = claimed.len() == room;
                    for claimed in claimed {
                        begin(&app, &life, claimed, None);
                    }
                    if !full || room == 0 {
                        look_behind(&app).await;
                        break;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "nothing can be claimed");
                    break;
                }
            }
        }
    }
    app.stage.emptied().await;
    app.committer.close();
    Ok(())
}

/// Notes whether limits left anything in the queue, so that the end of a run leads to another claim.
async fn look_behind(app: &App) {
    // Before the look: what is queued after it rings by itself.
    app.backlog.store(true, Ordering::Release);
    if let Ok(false) = sweep::anything_queued(&app.db).await {
        app.backlog.store(false, Ordering::Release);
    }
}

async fn claim(app: &App, most: usize) -> Result<Vec<Claimed>, sqlx::Error> {
    if most == 0 {
        return Ok(Vec::new());
    }
    let mut tx = app.db.system("claiming runs").await?;
    let limit = app.runs.tenant_concurrency;
    let claimed = queue::claim(&mut tx, app.worker, most as i64, limit).await?;
    tx.commit().await?;
    for run in &claimed {
        metrics::histogram!("engine_claim_seconds").record(run.queued_ms as f64 / 1000.0);
    }
    metrics::counter!("engine_runs_claimed_total").increment(claimed.len() as u64);
    Ok(claimed)
}

/// Drives a run that this worker owns. `fresh` is what it begins with, if it was made just now.
pub(crate) fn begin(app: &App, life: &Lifecycle, claimed: Claimed, fresh: Option<Fresh>) {
    let app = app.clone();
    let active = app.stage.enter(claimed.tenant, claimed.run, fresh.is_none());
    let span = tracing::info_span!("run", "run.id" = %claimed.run, "tenant.id" = %claimed.tenant, epoch = claimed.epoch);
    if let Some(cause) = &claimed.traceparent {
        servicekit::trace::adopt_text(&span, cause);
    }
    let hard = life.hard();
    let work = async move {
        let driving = pubsub::within_trace(
            claimed.traceparent.as_deref(),
            drive::drive(&app, &claimed, &active, fresh),
        );
        let driven = AssertUnwindSafe(driving).catch_unwind();
        tokio::select! {
            driven = driven => match driven {
                Ok(Ok(())) => {}
                Ok(Err(error)) => give_up(&app, &claimed, &format!("{error:#}")).await,
                Err(_panic) => give_up(&app, &claimed, "the driver panicked").await,
            },
            () = hard.cancelled() => {}
        }
        app.stage.leave(&active);
        metrics::gauge!("engine_runs_under_way").set(app.stage.count() as f64);
        if app.backlog.load(Ordering::Acquire) {
            app.bell.ring_here();
        }
    };
    life.detach(work.instrument(span));
}

/// Something on our side failed. The run is queued again after a pause; the claims that end like this are counted, and
/// too many of them end the run.
async fn give_up(app: &App, claimed: &Claimed, why: &str) {
    tracing::warn!(why, "the run is left to another attempt");
    tokio::time::sleep(PAUSE).await;
    let put_back = async {
        let mut tx = app.db.begin(claimed.tenant).await?;
        queue::release(&mut tx, claimed.run, claimed.epoch, queue::Counted::Yes).await?;
        tx.commit().await
    };
    if let Err(error) = put_back.await {
        tracing::warn!(%error, "the run was not put back; it will be found when the lease ends");
    }
    app.bell.ring().await;
}
