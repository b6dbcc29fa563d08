//! Deleted credentials stay sealed for 31 days, in case an operator has to bring one back; then nothing of them is left
//! but their audit.

use std::time::Duration;

use dbutil::Db;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::store;

const EVERY: Duration = Duration::from_secs(60 * 60);
const ROWS: i64 = 1_000;

/// Shreds until the token is cancelled. A database that is away is tried again at the next turn.
pub(crate) async fn run(db: Db, token: CancellationToken) {
    let mut turn = interval(EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            _ = turn.tick() => {}
        }
        match shred(&db).await {
            Ok(0) => {}
            Ok(credentials) => tracing::info!(credentials, "shredded deleted credentials"),
            Err(error) => tracing::warn!(%error, "deleted credentials stay sealed for now"),
        }
    }
}

async fn shred(db: &Db) -> Result<u64, sqlx::Error> {
    let mut all = 0;
    loop {
        let mut tx = db.system("shred deleted credentials").await?;
        let some = store::credential::shred(&mut tx, ROWS).await?;
        tx.commit().await?;
        all += some;
        if some < ROWS as u64 {
            return Ok(all);
        }
    }
}
