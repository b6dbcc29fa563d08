//! Keeps budgets in order: gives back what this process does not need, and, once for all processes, adds up what was spent, takes
//! back what dead workers held, and wakes runs for which there is room.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::app::App;
use crate::budgets;
use crate::store::budget_ledger;

/// Works until the process stops.
pub(crate) async fn run(app: App) -> anyhow::Result<()> {
    let mut ticks = interval(app.runs.sweep.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = app.draining.cancelled() => return Ok(()),
        }
        match app.budgets.tidy(&app.db).await {
            Ok(rouse) => app.rouse(rouse).await,
            Err(error) => {
                tracing::warn!(%error, "budgets could not be given back; the next time they are");
            }
        }
    }
}

/// Brings the budgets up to date that have something open. One at a time, so that nobody who draws on one waits for all.
pub(crate) async fn sweep(app: &App) -> Result<(), sqlx::Error> {
    for budget in budget_ledger::due(&app.db).await? {
        let rouse = budgets::settle(&app.db, &[budget], &[]).await?;
        app.rouse(rouse).await;
    }
    Ok(())
}
