//! Stopping many runs, or letting many go on: together as far as nobody else holds them, the others one by one.

use std::collections::HashSet;

use shared_models::{RunId, RunStatus, TenantId, UserId};

use crate::app::App;
use crate::error::Error;
use crate::pauses;
use crate::store::signal::{self, Signal};
use crate::store::{queue, run, signal_many};

/// How many runs are held at once; nobody waits long for one of them.
const AT_ONCE: usize = 100;

/// Tells those of the runs to stop that have not ended. Says how many.
pub(crate) async fn cancel(
    app: &App,
    tenant: TenantId,
    runs: &[RunId],
    (by, reason): (Option<UserId>, &str),
) -> Result<u64, Error> {
    let signal = Signal::Cancel { by, reason: reason.to_owned() };
    let mut all = 0;
    for some in runs.chunks(AT_ONCE) {
        let mut tx = app.db.begin(tenant).await?;
        let told = signal_many::cancel(&mut tx, some, &signal).await?;
        tx.commit().await?;
        all += ring(app, &told).await;
        for id in left(some, &told) {
            let mut tx = app.db.begin(tenant).await?;
            if run::hold(&mut tx, id).await?.is_none_or(RunStatus::terminal) {
                continue;
            }
            signal::insert(&mut tx, id, &signal).await?;
            queue::rouse(&mut tx, id).await?;
            tx.commit().await?;
            all += ring(app, &[id]).await;
        }
    }
    Ok(all)
}

/// Tells those of the runs to go on that are paused. Says how many.
pub(crate) async fn resume(
    app: &App,
    tenant: TenantId,
    runs: &[RunId],
    by: Option<UserId>,
) -> Result<u64, Error> {
    let mut all = 0;
    for some in runs.chunks(AT_ONCE) {
        let mut tx = app.db.begin(tenant).await?;
        let told = signal_many::resume(&mut tx, some, &Signal::Resume { by }).await?;
        tx.commit().await?;
        all += ring(app, &told).await;
        for id in left(some, &told) {
            let mut tx = app.db.begin(tenant).await?;
            match pauses::resume(&mut tx, id, by).await {
                Ok(()) => {}
                Err(Error::RunEnded | Error::RunNotPaused | Error::RunNotFound(_)) => continue,
                Err(error) => return Err(error),
            }
            tx.commit().await?;
            all += ring(app, &[id]).await;
        }
    }
    Ok(all)
}

/// Those that somebody else was just writing to, or that have gone on meanwhile.
fn left(some: &[RunId], told: &[RunId]) -> Vec<RunId> {
    let told: HashSet<&RunId> = told.iter().collect();
    some.iter().filter(|id| !told.contains(id)).copied().collect()
}

async fn ring(app: &App, told: &[RunId]) -> u64 {
    for id in told {
        app.bell.ring_for(*id).await;
    }
    told.len() as u64
}
