//! Ends a run whose caller hangs up, if that is what they asked for.

use shared_models::{RunId, TenantId, UserId};

use crate::{
    app::App,
    error::Error,
    store::{
        queue,
        signal::{self, Signal},
    },
};

/// While it is armed, dropping it cancels the run.
pub(super) struct Hangup {
    app: App,
    tenant: TenantId,
    run: RunId,
    by: UserId,
    armed: bool,
}

impl Hangup {
    pub(super) fn new(app: &App, tenant: TenantId, run: RunId, by: UserId, armed: bool) -> Self {
        Self { app: app.clone(), tenant, run, by, armed }
    }

    /// The run has ended, or goes on by itself.
    pub(super) fn disarm(&mut self) {
        self.armed = false;
    }
}

impl Drop for Hangup {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let (app, tenant, run, by) = (self.app.clone(), self.tenant, self.run, self.by);
        self.app.life.detach(async move {
            if let Err(error) = cancel(&app, tenant, run, by).await {
                tracing::warn!(%error, %run, "a run whose caller hung up goes on");
            }
        });
    }
}

async fn cancel(app: &App, tenant: TenantId, run: RunId, by: UserId) -> Result<(), Error> {
    let mut tx = app.db.begin(tenant).await?;
    let reason = "its caller hung up".to_owned();
    signal::insert(&mut tx, run, &Signal::Cancel { by: Some(by), reason }).await?;
    queue::rouse(&mut tx, run).await?;
    tx.commit().await?;
    app.bell.ring_for(run).await;
    Ok(())
}
