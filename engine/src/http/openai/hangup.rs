//! Ends a run whose caller hangs up, if that is what they asked for.

use std::time::Duration;

use shared_models::{RunId, TenantId, UserId};

use crate::{
    app::App,
    error::Error,
    store::{
        queue, run,
        signal::{self, Signal},
    },
};

/// While it is armed, dropping it cancels the run. Made before the run is committed: who hangs up just then does not know
/// whether there is one.
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
            for pause in LOOKS {
                tokio::time::sleep(pause).await;
                match cancel(&app, tenant, run, by).await {
                    Ok(true) => return,
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(%error, %run, "a run whose caller hung up goes on");
                    }
                }
            }
        });
    }
}

/// The pauses before each look for the run: a commit that was under way when its caller hung up comes through soon or never.
const LOOKS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(300), Duration::from_secs(3)];

/// Says whether there is such a run.
async fn cancel(app: &App, tenant: TenantId, run: RunId, by: UserId) -> Result<bool, Error> {
    let mut tx = app.db.begin(tenant).await?;
    match run::hold(&mut tx, run).await? {
        None => return Ok(false),
        Some(status) if status.terminal() => return Ok(true),
        Some(_) => {}
    }
    let reason = "its caller hung up".to_owned();
    signal::insert(&mut tx, run, &Signal::Cancel { by: Some(by), reason }).await?;
    queue::rouse(&mut tx, run).await?;
    tx.commit().await?;
    app.bell.ring_for(run).await;
    Ok(true)
}
