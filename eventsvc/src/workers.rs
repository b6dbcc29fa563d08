//! What runs beside requests. Each worker is one function that looks at the state and does what is due; it can be called at
//! any time, by any number of replicas.

pub(crate) mod release;
pub(crate) mod retention;
pub(crate) mod revoke;
pub(crate) mod stats;
pub(crate) mod unheard;

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::app::App;

/// What follows from an edit, soon after it: woken by the bell, and every five seconds.
pub(crate) async fn chores(app: App, soft: CancellationToken) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = app.bell.notified() => {}
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
            () = soft.cancelled() => return Ok(()),
        }
        let work = async {
            log("releasing held deliveries", release::activate(&app).await);
            log("taking grants back", revoke::activate(&app).await);
        };
        // What is under way at the end is rolled back and due again.
        tokio::select! {
            () = work => {}
            () = soft.cancelled() => return Ok(()),
        }
    }
}

/// Looks for lost firings, once a minute or as often as is said.
pub(crate) async fn hearing(app: App, soft: CancellationToken) -> anyhow::Result<()> {
    let pause = Duration::from_secs(app.limits.housekeeping_seconds.into());
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = soft.cancelled() => return Ok(()),
        }
        log("publishing unheard firings again", unheard::activate(&app).await);
    }
}

/// Forgets as often; beside the above and not behind it, as years of deliveries may be due.
pub(crate) async fn forgetting(app: App, soft: CancellationToken) -> anyhow::Result<()> {
    let pause = Duration::from_secs(app.limits.housekeeping_seconds.into());
    loop {
        let forget = async {
            tokio::time::sleep(pause).await;
            log("forgetting old deliveries", retention::activate(&app).await);
        };
        // What is under way at the end is rolled back and due again.
        tokio::select! {
            () = forget => {}
            () = soft.cancelled() => return Ok(()),
        }
    }
}

/// Counters, once a second, and once more at the end.
pub(crate) async fn counting(app: App, soft: CancellationToken) -> anyhow::Result<()> {
    loop {
        let last = tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => false,
            () = soft.cancelled() => true,
        };
        log("writing counters", stats::activate(&app).await);
        if last {
            return Ok(());
        }
    }
}

/// A worker that fails is called again anyway.
fn log(what: &str, done: anyhow::Result<u64>) {
    match done {
        Ok(0) => {}
        Ok(number) => tracing::debug!(number, "{what}"),
        Err(error) => tracing::warn!(error = format!("{error:#}"), "{what} did not work"),
    }
}
