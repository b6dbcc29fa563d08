//! Moves evaluations on. Any number of processes do it beside each other; each evaluation is one's at a time.

use tokio::time::{MissedTickBehavior, interval};

use crate::app::App;
use crate::evaluations;
use crate::store::evaluation;

/// Works until the process stops.
pub(crate) async fn run(app: App) -> anyhow::Result<()> {
    let mut looks = interval(app.runs.sweep);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = app.draining.cancelled() => return Ok(()),
        }
        let running = evaluation::running(&app.db).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "evaluations cannot be read now");
            Vec::new()
        });
        for (tenant, id) in running {
            if app.draining.is_cancelled() {
                return Ok(());
            }
            if let Err(error) = evaluations::advance(&app, tenant, id).await {
                tracing::warn!(%error, evaluation.id = %id, "an evaluation stays where it is for now");
            }
        }
    }
}
