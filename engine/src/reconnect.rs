//! Tells runs that wait until a credential is connected again.
//!
//! Level-triggered: an event about the credential, the run's own look after it has written down what it waits for, and a
//! sweep each lead here, and whoever is told asks for the secret again. A lost event so costs one sweep, and a needless one
//! nothing but that question.

use shared_models::{CredentialId, TenantId};

use crate::app::App;
use crate::error::Error;
use crate::store::auth_wait;

/// Lets the runs that wait for a credential ask for it again: those at rest are woken, and those at work, of which only some
/// branches wait, are told.
pub(crate) async fn wake(
    app: &App,
    tenant: TenantId,
    credential: CredentialId,
) -> Result<(), sqlx::Error> {
    // Not in one transaction: it would wait for one run while it holds another.
    let mut tx = app.db.begin(tenant).await?;
    let mut told = auth_wait::tell(&mut tx, credential).await?;
    tx.commit().await?;
    // Whoever has come to rest since is found here.
    let mut tx = app.db.begin(tenant).await?;
    told.extend(auth_wait::wake(&mut tx, credential).await?);
    tx.commit().await?;
    for run in told {
        tracing::info!(run.id = %run, credential.id = %credential, "the run need not wait for the credential any more");
        app.bell.ring_for(run).await;
    }
    Ok(())
}

/// The same, unless the credential is still to be connected again; says whether it is not.
pub(crate) async fn look(
    app: &App,
    tenant: TenantId,
    credential: CredentialId,
) -> Result<bool, Error> {
    if app.credsvc.needs_reconnect(tenant, credential).await? {
        return Ok(false);
    }
    wake(app, tenant, credential).await?;
    Ok(true)
}
