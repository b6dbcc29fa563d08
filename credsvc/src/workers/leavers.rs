//! Providers are told that nobody uses any more what was connected by somebody who has left.

use dbutil::Db;
use futures::{StreamExt as _, stream};
use shared_models::{CredentialId, TenantId};

use crate::{
    Error,
    audit::{self, Action, Entry},
    oauth::{renew::Renewer, revocation::Told},
    store,
};

const ROWS: i64 = 200;
/// Providers that are told at the same time.
const AT_ONCE: usize = 16;
/// How often one is told that does not take it: for half a day.
const TRIES: i32 = 15;

/// One turn. Whoever is not reached is told at another.
pub(crate) async fn activate(db: &Db, renewer: &Renewer) -> Result<(), Error> {
    let mut tx = db.system("tell providers of connections whose owners have left").await?;
    let due = store::leaver::due(&mut tx, ROWS).await?;
    drop(tx);
    stream::iter(due)
        .for_each_concurrent(AT_ONCE, |(tenant, id)| async move {
            if let Err(error) = tell(db, renewer, tenant, id).await {
                tracing::warn!(credential = %id, %error, "a provider is told later");
            }
        })
        .await;
    Ok(())
}

async fn tell(db: &Db, renewer: &Renewer, tenant: TenantId, id: CredentialId) -> Result<(), Error> {
    let mut tx = db.begin(tenant).await?;
    let Some(tries) = store::leaver::take_on(&mut tx, id).await? else { return Ok(()) };
    let credential = store::credential::find(&mut tx, id).await?.ok_or(Error::NotFound(id))?;
    tx.commit().await?;
    let said = renewer.take_back_all_of(&credential).await;
    if said == Told::Failed && tries < TRIES {
        return Ok(());
    }
    let mut tx = db.begin(tenant).await?;
    let entry = Entry::own(Action::Disconnect, "its provider was told that its owner has left");
    let entry = entry.about(id);
    if store::leaver::told(&mut tx, id).await? && said != Told::NotAsked {
        let failed = said == Told::Failed;
        audit::append(&mut tx, if failed { entry.failed("provider") } else { entry }).await?;
    }
    tx.commit().await?;
    Ok(())
}
