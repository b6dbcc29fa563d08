//! Forgets ended runs, a little at a time: their content first, they themselves much later; and workers that are gone.

use dbutil::Batches;
use tokio::time::{MissedTickBehavior, interval};

use crate::app::App;
use crate::store::{retention, sweep, webhook_delivery};

/// Trees or runs per statement; a statement is further bounded by the records it removes.
const BATCH: i64 = 200;

/// Works until the process stops. What is under way then is rolled back and due again.
pub(crate) async fn run(app: App) -> anyhow::Result<()> {
    let mut turns = interval(app.runs.prune);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let forgotten = async {
            turns.tick().await;
            activate(&app).await
        };
        tokio::select! {
            forgotten = forgotten => match forgotten {
                Ok(0) => {}
                Ok(forgotten) => tracing::info!(forgotten, "old runs are forgotten"),
                Err(error) => tracing::warn!(%error, "old runs stay for now"),
            },
            () = app.draining.cancelled() => return Ok(()),
        }
    }
}

async fn activate(app: &App) -> Result<u64, sqlx::Error> {
    let (mut content, mut runs) = (Batches::default(), Batches::default());
    while content.more().await {
        let mut tx = app.db.system("forget the content of old runs of all tenants").await?;
        sweep::mind_the_indexes(&mut tx).await?;
        content.did(retention::forget_content(&mut tx, app.runs.content_days, BATCH).await?);
        tx.commit().await?;
    }
    while runs.more().await {
        let mut tx = app.db.system("forget old runs of all tenants").await?;
        sweep::mind_the_indexes(&mut tx).await?;
        runs.did(retention::forget_runs(&mut tx, app.runs.days, BATCH).await?);
        tx.commit().await?;
    }
    let mut conversations = Batches::default();
    while conversations.more().await {
        let mut tx = app.db.system("forget old conversations of all tenants").await?;
        sweep::mind_the_indexes(&mut tx).await?;
        let days = app.runs.conversation_days;
        conversations.did(retention::forget_conversations(&mut tx, days, BATCH).await?);
        tx.commit().await?;
    }
    let mut told = Batches::default();
    while told.more().await {
        let mut tx = app.db.system("forget what endpoints of all tenants were told").await?;
        let days = app.webhooks.config.days;
        told.did(webhook_delivery::forget(&mut tx, days, BATCH).await?);
        tx.commit().await?;
    }
    let mut tx = app.db.system("forget silent workers").await?;
    retention::forget_workers(&mut tx, BATCH).await?;
    tx.commit().await?;
    Ok(content.all() + runs.all() + conversations.all() + told.all())
}
