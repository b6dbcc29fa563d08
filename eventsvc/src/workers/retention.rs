//! Forgets what is older than anybody needs, a little at a time.

use crate::{app::App, store};

const BATCH: i64 = 1000;

/// Forgets old deliveries now; says how many.
pub async fn activate(app: &App) -> anyhow::Result<u64> {
    let days = app.limits.retention_days as i32;
    let mut forgotten = 0;
    loop {
        let mut tx = app.db.system("prune deliveries of all tenants").await?;
        let gone = store::delivery::prune(&mut tx, days, BATCH).await?;
        tx.commit().await?;
        forgotten += gone;
        if gone < BATCH as u64 {
            break;
        }
    }
    let mut tx = app.db.system("prune deleted triggers of all tenants").await?;
    store::trigger::prune(&mut tx, days).await?;
    tx.commit().await?;
    Ok(forgotten)
}
