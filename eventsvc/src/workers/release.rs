//! Fires what was held while a trigger was paused.

use shared_models::{EventId, TenantId};

use crate::{
    app::App,
    intake::ReasonClass,
    refire::{self, Again},
    store,
};

const BATCH: i64 = 500;

pub(crate) async fn activate(app: &App) -> anyhow::Result<u64> {
    let mut released = 0;
    loop {
        let mut tx = app.db.system("held deliveries of all tenants").await?;
        let due = store::firing::releasable(&mut tx, BATCH).await?;
        tx.commit().await?;
        let mut moved = 0;
        for (tenant, event) in due {
            match release(app, tenant, event).await {
                Ok(held) => moved += u64::from(held),
                // It stays held, and does not hold up those behind it.
                Err(error) => {
                    tracing::warn!(event.id = %event, error = format!("{error:#}"), "a held delivery was not released");
                }
            }
        }
        if moved == 0 {
            return Ok(released);
        }
        app.relay.ring();
        app.flow.queued();
        released += moved;
    }
}

/// Fires it, or not, if it is still held; says whether it was.
async fn release(app: &App, tenant: TenantId, event: EventId) -> anyhow::Result<bool> {
    let mut tx = app.db.begin(tenant).await?;
    let Some(held) = store::firing::lock_held(&mut tx, event).await? else { return Ok(false) };
    if refire::obstacle(&held).is_some() {
        store::firing::skip(&mut tx, event).await?;
    } else if held.flow.is_some() {
        store::firing::queue(&mut tx, event).await?;
    } else {
        match refire::given(tenant, &Again::alone(&held)).await {
            Ok(given) => {
                refire::fire(&mut tx, &held, &given, "released", None).await?;
            }
            Err(why) => store::firing::fail(&mut tx, event, ReasonClass::Input, &why).await?,
        }
    }
    tx.commit().await?;
    Ok(true)
}
