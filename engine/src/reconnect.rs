//! Wakes runs that wait until a credential is connected again.
//!
//! Level-triggered: an event about the credential, the run's own look after it was put to rest, and a sweep each lead here,
//! and a woken run asks for the secret again. A lost event so costs one sweep, and a needless one nothing but that question.

use shared_models::{CredentialId, TenantId};

use crate::app::App;
use crate::error::Error;
use crate::store::auth_wait;

/// Lets the runs that wait for a credential ask for it again.
pub(crate) async fn wake(
    app: &App,
    tenant: TenantId,
    credential: CredentialId,
) -> Result<(), sqlx::Error> {
    let mut tx = app.db.begin(tenant).await?;
    let woken = auth_wait::wake(&mut tx, credential).await?;
    tx.commit().await?;
    for run in woken {
        tracing::info!(run.id = %run, credential.id = %credential, "the run need not wait for the credential any more");
        app.bell.ring_for(run).await;
    }
    Ok(())
}

/// The same, unless the credential is still to be connected again.
pub(crate) async fn look(
    app: &App,
    tenant: TenantId,
    credential: CredentialId,
) -> Result<(), Error> {
    if !app.credsvc.needs_reconnect(tenant, credential).await? {
        wake(app, tenant, credential).await?;
    }
    Ok(())
}
