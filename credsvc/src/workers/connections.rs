//! Access tokens are renewed before they end, and health follows expiry, without anybody asking.

use std::time::Duration;

use dbutil::Db;
use futures::{StreamExt as _, stream};
use shared_models::events::credential::CredentialHealthChanged;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{App, Error, oauth::renewals::Renewals, store};

const EVERY: Duration = Duration::from_secs(5);
const ROWS: i64 = 200;
/// Providers that are asked at the same time.
const AT_ONCE: usize = 16;

/// Looks until the token is cancelled. What fails is looked at again at the next turn.
pub(crate) async fn run(app: App, token: CancellationToken) {
    let mut turn = interval(EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let looked = async {
            turn.tick().await;
            app.tend().await
        };
        tokio::select! {
            () = token.cancelled() => return,
            looked = looked => if let Err(error) = looked {
                tracing::warn!(%error, "connections are not looked after for now");
            },
        }
    }
}

/// One turn.
pub(crate) async fn activate(db: &Db, renewals: &Renewals) -> Result<(), Error> {
    let mut tx =
        db.system("renew tokens that are due, follow expiry, tidy connect sessions").await?;
    let due = store::refresh::due(&mut tx, ROWS).await?;
    let outdated = store::refresh::outdated(&mut tx, ROWS).await?;
    store::connect_session::tidy(&mut tx, ROWS).await?;
    tx.commit().await?;
    for (tenant, credential) in outdated {
        let mut tx = db.begin(tenant).await?;
        if let Some((health, user_id)) = store::refresh::follow_expiry(&mut tx, credential).await? {
            let event = CredentialHealthChanged {
                credential_id: credential,
                user_id,
                health: health.as_str().into(),
                reason: None,
            };
            pubsub::emit(&mut tx, &event).await?;
            tx.commit().await?;
        }
    }
    stream::iter(due)
        .for_each_concurrent(AT_ONCE, |(tenant, credential, version)| async move {
            // How it ended is in the row, the audit and the events.
            let _ = renewals.renew(tenant, credential, version).await;
        })
        .await;
    Ok(())
}
