//! Writes counters down.

use crate::{app::App, store};

pub(crate) async fn activate(app: &App) -> anyhow::Result<u64> {
    let counted = app.stats.take();
    if counted.is_empty() {
        return Ok(0);
    }
    let written = async {
        let mut tx = app.db.system("counters of all tenants").await?;
        store::stat::add(&mut tx, &counted).await?;
        tx.commit().await
    };
    match written.await {
        Ok(()) => Ok(counted.len() as u64),
        Err(error) => {
            app.stats.put_back(counted);
            Err(error.into())
        }
    }
}
