//! Tells the vault which triggers are gone.

use shared_models::{TenantId, TriggerId};

use crate::{app::App, store};

pub(crate) async fn activate(app: &App) -> anyhow::Result<u64> {
    let mut tx = app.db.system("deleted triggers of all tenants").await?;
    let gone = store::trigger::unrevoked(&mut tx, 100).await?;
    tx.commit().await?;
    let mut revoked = 0;
    for (tenant, trigger) in gone {
        match revoke(app, tenant, trigger).await {
            Ok(()) => revoked += 1,
            // It stays due, and does not hold up those behind it.
            Err(error) => {
                tracing::warn!(trigger.id = %trigger, error = format!("{error:#}"), "grants were not taken back");
            }
        }
    }
    Ok(revoked)
}

async fn revoke(app: &App, tenant: TenantId, trigger: TriggerId) -> anyhow::Result<()> {
    app.credsvc.revoke(tenant, trigger).await?;
    let mut tx = app.db.begin(tenant).await?;
    store::trigger::mark_revoked(&mut tx, trigger).await?;
    Ok(tx.commit().await?)
}
