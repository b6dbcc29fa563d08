//! Forgets what is older than anybody needs, a little at a time.

use dbutil::{Batches, SystemTx};

use crate::{
    app::App,
    store::{recovery, retention},
};

const BATCH: i64 = 500;

/// Forgets old deliveries now; says how many.
pub async fn activate(app: &App) -> anyhow::Result<u64> {
    let days = app.limits.retention_days.cast_signed();
    let mut batches = Batches::default();
    let (mut after, mut forgotten) = (None, 0);
    while batches.more().await {
        let mut tx = begin(app).await?;
        let batch = retention::forget_deliveries(&mut tx, days, after, BATCH).await?;
        tx.commit().await?;
        forgotten += batch.deliveries;
        // Beyond what stays because it is needed there may be more to forget.
        let on = batch.looked_up_to.is_some() && batch.looked_up_to != after;
        batches.did(u64::from(on));
        after = batch.looked_up_to;
    }
    let mut triggers = Batches::default();
    while triggers.more().await {
        let mut tx = begin(app).await?;
        triggers.did(retention::forget_triggers(&mut tx, days, BATCH).await?);
        triggers.did(retention::forget_sources(&mut tx, days, BATCH).await?);
        tx.commit().await?;
    }
    let mut running = Batches::default();
    while running.more().await {
        let mut tx = begin(app).await?;
        running.did(retention::forget_running(&mut tx, BATCH).await?);
        tx.commit().await?;
    }
    let mut recoveries = Batches::default();
    while recoveries.more().await {
        let mut tx = begin(app).await?;
        recoveries.did(recovery::forget(&mut tx, days, BATCH).await?);
        tx.commit().await?;
    }
    metrics::counter!("eventsvc_deliveries_forgotten_total").increment(forgotten);
    Ok(forgotten)
}

/// On fast-growing tables the planner would read all of them until statistics catch up.
async fn begin(app: &App) -> Result<SystemTx, sqlx::Error> {
    let mut tx = app.db.system("forget old deliveries of all tenants").await?;
    sqlx::raw_sql("set local enable_seqscan = off; set local jit = off").execute(&mut *tx).await?;
    Ok(tx)
}
