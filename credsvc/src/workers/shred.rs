//! Deleted credentials stay sealed for a month, in case an operator has to bring one back; then nothing of them is left
//! but their audit.

use std::time::Duration;

use dbutil::{Batches, Db};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::store;

const EVERY: Duration = Duration::from_secs(60 * 60);
const ROWS: i64 = 500;

/// Shreds until the token is cancelled. A database that is away is tried again at the next turn.
pub(crate) async fn run(db: Db, days: u32, token: CancellationToken) {
    let mut turn = interval(EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let shredded = async {
            turn.tick().await;
            shred(&db, days).await
        };
        tokio::select! {
            () = token.cancelled() => return,
            shredded = shredded => match shredded {
                Ok(0) => {}
                Ok(credentials) => tracing::info!(credentials, "shredded deleted credentials"),
                Err(error) => tracing::warn!(%error, "deleted credentials stay sealed for now"),
            },
        }
    }
}

async fn shred(db: &Db, days: u32) -> Result<u64, sqlx::Error> {
    let mut batches = Batches::default();
    while batches.more().await {
        let mut tx = db.system("shred deleted credentials").await?;
        batches.did(store::credential::shred(&mut tx, days.cast_signed(), ROWS).await?);
        tx.commit().await?;
    }
    Ok(batches.all())
}
