//! Calls that the other side takes (202) and answers later, at `POST /v1/callbacks/{token}`.
//!
//! A call has one token, the same for every attempt at it: whoever takes over a run after a crash sends it again, and an
//! answer to the first attempt still finds the call. It is made of the engine's own key, so that only its hash is stored.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use shared_models::{RunId, RunStatus, TenantId};

use crate::app::App;
use crate::error::Error;
use crate::store::signal::{self, Signal};
use crate::store::{callback, queue, run};

const PREFIX: &str = "cbk_";
/// How many at once; the next sweep sees the rest.
const MOST: i64 = 500;

/// What tokens are made of.
pub(crate) struct CallbackKey(SecretString);

impl CallbackKey {
    pub(crate) fn new(service_key: &SecretString) -> Self {
        Self(service_key.clone())
    }

    /// What the other side shows when it answers this call.
    pub(crate) fn token(&self, run: RunId, key: &str) -> Result<SecretString, Error> {
        let mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret().as_bytes());
        let mac = mac.map_err(|error| anyhow::anyhow!("the service key: {error}"))?;
        let said = mac.chain_update("callback of a call\0").chain_update(run.uuid().as_bytes());
        let bytes = said.chain_update(key).finalize().into_bytes();
        Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)).into())
    }
}

pub(crate) fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Tells runs of what nobody has answered in time. Done by one process of all at each sweep, and harmless when two do it.
pub(crate) async fn sweep(app: &App) -> Result<(), sqlx::Error> {
    for (tenant, run, key) in callback::overdue(&app.db, MOST).await? {
        if let Err(error) = expire(app, tenant, run, &key).await {
            tracing::warn!(%error, run.id = %run, "a callback stays open for now; the next sweep sees it");
        }
    }
    Ok(())
}

async fn expire(app: &App, tenant: TenantId, run: RunId, key: &str) -> Result<(), Error> {
    let mut tx = app.db.begin(tenant).await?;
    let ended = run::hold(&mut tx, run).await?.is_none_or(RunStatus::terminal);
    if callback::expire(&mut tx, run, key).await? && !ended {
        signal::insert(&mut tx, run, &Signal::CalledBack { call_id: key.to_owned() }).await?;
        queue::wake(&mut tx, run).await?;
    }
    tx.commit().await?;
    app.bell.ring_for(run).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_one_token_and_no_other_call_has_it() {
        let (key, run) = (CallbackKey::new(&"a".to_owned().into()), RunId::mint());
        let token =
            |key: &CallbackKey, run, call| key.token(run, call).unwrap().expose_secret().to_owned();

        let first = token(&key, run, "call_1");

        assert_eq!(first, token(&key, run, "call_1"));
        let others = [
            token(&key, run, "call_2"),
            token(&key, RunId::mint(), "call_1"),
            token(&CallbackKey::new(&"b".to_owned().into()), run, "call_1"),
        ];
        assert!(!others.contains(&first));
    }
}
