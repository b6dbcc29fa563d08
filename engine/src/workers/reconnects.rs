//! Asks how the credentials are that runs wait for, in case an event about one was lost.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::app::App;
use crate::reconnect;
use crate::store::auth_wait;

/// Sweeps between two questions about the same credential.
const SWEEPS: u32 = 10;
/// Credentials asked about in one go; all have their turn.
const LOOKED_AT: i64 = 500;

/// Works until the process stops.
pub(crate) async fn run(app: App) -> anyhow::Result<()> {
    let pause = (app.runs.sweep * SWEEPS).max(Duration::from_millis(1));
    let mut looks = interval(pause);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = app.draining.cancelled() => return Ok(()),
        }
        if let Err(error) = activate(&app, pause).await {
            tracing::warn!(%error, "runs that wait for credentials could not be looked at; they stay due");
        }
    }
}

async fn activate(app: &App, pause: Duration) -> Result<(), sqlx::Error> {
    auth_wait::forget_ended(&app.db).await?;
    // A little early rather than a period late: timers of two processes never tick alike.
    for (tenant, credential) in auth_wait::due(&app.db, pause.mul_f32(0.9), LOOKED_AT).await? {
        if let Err(error) = reconnect::look(app, tenant, credential).await {
            tracing::warn!(%error, credential.id = %credential, "nobody says how the credential is");
        }
    }
    Ok(())
}
