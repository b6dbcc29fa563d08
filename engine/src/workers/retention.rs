//! Forgets what is older than its tenant wants it kept, a little at a time; of runs their content first, they themselves much
//! later. And workers that are gone.

use dbutil::{Batches, SystemTx};
use tokio::time::{MissedTickBehavior, interval};

use crate::app::App;
use crate::store::{retention, sweep};

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
                Ok(forgotten) => tracing::info!(forgotten, "what was kept long enough is forgotten"),
                Err(error) => tracing::warn!(%error, "old runs stay for now"),
            },
            () = app.draining.cancelled() => return Ok(()),
        }
    }
}

async fn activate(app: &App) -> Result<u64, sqlx::Error> {
    let mut all = 0;
    for what in What::ALL {
        let mut batches = Batches::default();
        while batches.more().await {
            let mut tx = app.db.system("forget what all tenants have kept long enough").await?;
            sweep::mind_the_indexes(&mut tx).await?;
            batches.did(what.forget(app, &mut tx).await?);
            tx.commit().await?;
        }
        all += batches.all();
    }
    let mut tx = app.db.system("forget silent workers").await?;
    retention::forget_workers(&mut tx, BATCH).await?;
    tx.commit().await?;
    Ok(all)
}

/// What is forgotten, in this order.
#[derive(Clone, Copy, Debug)]
enum What {
    Content,
    Runs,
    Conversations,
    Memory,
    Usage,
    UserUsage,
    Deliveries,
    Evaluations,
}

impl What {
    const ALL: [Self; 8] = [
        Self::Content,
        Self::Runs,
        Self::Conversations,
        Self::Memory,
        Self::Usage,
        Self::UserUsage,
        Self::Deliveries,
        Self::Evaluations,
    ];

    /// Forgets a batch; says how much that was.
    async fn forget(self, app: &App, tx: &mut SystemTx) -> Result<u64, sqlx::Error> {
        let runs = &app.runs;
        match self {
            Self::Content => {
                retention::forget_content(tx, (runs.content_days, runs.days), BATCH).await
            }
            Self::Runs => retention::forget_runs(tx, runs.days, BATCH).await,
            Self::Conversations => {
                retention::forget_conversations(tx, runs.conversation_days, BATCH).await
            }
            Self::Memory => retention::forget_memory(tx, runs.memory_days, BATCH).await,
            Self::Usage => retention::forget_usage(tx, runs.usage_days, BATCH).await,
            Self::UserUsage => retention::forget_user_usage(tx, runs.usage_days, BATCH).await,
            Self::Deliveries => {
                retention::forget_deliveries(tx, app.webhooks.config.days, BATCH).await
            }
            Self::Evaluations => {
                retention::forget_evaluations(tx, (runs.days, runs.content_days), BATCH).await
            }
        }
    }
}
