//! Tells the vault which triggers are gone.

use crate::{app::App, store};

pub(crate) async fn activate(app: &App) -> anyhow::Result<u64> {
    let mut tx = app.db.system("deleted triggers of all tenants").await?;
    let gone = store::trigger::unrevoked(&mut tx, 100).await?;
    tx.commit().await?;
    let mut revoked = 0;
    for (tenant, trigger) in gone {
        app.credsvc.revoke(tenant, trigger).await?;
        let mut tx = app.db.begin(tenant).await?;
        store::trigger::mark_revoked(&mut tx, trigger).await?;
        tx.commit().await?;
        revoked += 1;
    }
    Ok(revoked)
}
