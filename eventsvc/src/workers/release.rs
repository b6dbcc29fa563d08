//! Fires what was held while a trigger was paused.

use crate::{app::App, refire, store};

const BATCH: i64 = 500;

pub(crate) async fn activate(app: &App) -> anyhow::Result<u64> {
    let mut released = 0;
    loop {
        let mut tx = app.db.system("held deliveries of all tenants").await?;
        let due = store::firing::releasable(&mut tx, BATCH).await?;
        tx.commit().await?;
        let mut moved = 0;
        for (tenant, event) in due {
            let mut tx = app.db.begin(tenant).await?;
            let Some(held) = store::firing::lock_held(&mut tx, event).await? else { continue };
            if refire::obstacle(&held).is_some() {
                store::firing::skip(&mut tx, event).await?;
            } else {
                refire::fire(&mut tx, &held, "released", None).await?;
            }
            tx.commit().await?;
            moved += 1;
        }
        if moved == 0 {
            return Ok(released);
        }
        app.relay.ring();
        released += moved;
    }
}
