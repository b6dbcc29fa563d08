//! Tenants' keys: fetched from the database, unwrapped by the vault. May call the root key's provider, so nobody asks
//! while a transaction is open.

use dbutil::{Db, TenantTx};
use secrecy::SecretString;
use shared_models::TenantId;
use zeroize::Zeroizing;

use crate::{
    Error,
    fields::Fields,
    store::{self, credential::Credential, provider_config::ProviderConfig},
    vault::{PrintKey, Sealed, TenantKey, Vault, VaultError, Whose, WrappedKey},
};

/// Each time the active key is another, a whole one was made meanwhile.
const ATTEMPTS: u32 = 5;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    db: Db,
    vault: Vault,
}

impl Keys {
    pub(crate) fn new(db: Db, vault: Vault) -> Self {
        Self { db, vault }
    }

    /// The key that new secrets of a tenant are sealed under; made when there is none yet.
    pub(crate) async fn active(&self, tenant: TenantId) -> Result<TenantKey, Error> {
        let mut tx = self.db.begin(tenant).await?;
        let stored = store::tenant_key::find_active(&mut tx).await?;
        drop(tx);
        let stored = match stored {
            Some(stored) => stored,
            None => self.first(tenant).await?,
        };
        Ok(self.vault.tenant_key(tenant, &stored).await?)
    }

    /// A transaction to store secrets in, and the key to seal them under: it stays the active one until the transaction
    /// ends, so that a rotation, which makes another first, finds what was stored under this one.
    pub(crate) async fn begin(&self, tenant: TenantId) -> Result<(TenantTx, TenantKey), Error> {
        for _ in 0..ATTEMPTS {
            let key = self.active(tenant).await?;
            let mut tx = self.db.begin(tenant).await?;
            match self.hold(&mut tx, &key).await {
                Ok(()) => return Ok((tx, key)),
                Err(Error::Changed) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Changed)
    }

    /// The same for a transaction that is begun already: `Changed` when the key is not the active one any more.
    pub(crate) async fn hold(&self, tx: &mut TenantTx, key: &TenantKey) -> Result<(), Error> {
        let held = store::tenant_key::hold_active(tx, key.version()).await?;
        if held { Ok(()) } else { Err(Error::Changed) }
    }

    /// What secrets are compared by, whichever key of the tenant is the active one.
    pub(crate) async fn print_key(&self, tenant: TenantId) -> Result<PrintKey, Error> {
        for _ in 0..ATTEMPTS {
            let key = self.active(tenant).await?;
            let mut tx = self.db.begin(tenant).await?;
            let mut stored = store::tenant_key::find_print_key(&mut tx, key.version()).await?;
            if stored.is_none() {
                let made = key.wrap_print_key(&PrintKey::random(tenant)?)?;
                stored = store::tenant_key::add_print_key(&mut tx, key.version(), &made).await?;
                tx.commit().await?;
            }
            if let Some(wrapped) = stored {
                return Ok(key.print_key(&wrapped)?);
            }
        }
        Err(Error::Changed)
    }

    /// One of the tenant's keys by its version.
    pub(crate) async fn get(&self, tenant: TenantId, version: i32) -> Result<TenantKey, Error> {
        if let Some(key) = self.vault.remembered(tenant, version) {
            return Ok(key);
        }
        let mut tx = self.db.begin(tenant).await?;
        let stored = store::tenant_key::find(&mut tx, version).await?;
        drop(tx);
        let stored = stored.ok_or(VaultError::NoTenantKey(version))?;
        Ok(self.vault.tenant_key(tenant, &stored).await?)
    }

    /// The plaintext of a credential. Whoever calls this has decided that it may be used.
    pub(crate) async fn unseal(&self, credential: &Credential) -> Result<Fields, Error> {
        Fields::from_bytes(&self.open(&credential.whose(), &credential.sealed()).await?)
    }

    /// What was sealed, whatever it is.
    pub(crate) async fn open(
        &self,
        whose: &Whose,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let key = self.get(whose.tenant, sealed.tenant_key_version).await?;
        Ok(key.open(whose, sealed)?)
    }

    /// The secret of a registered client.
    pub(crate) async fn client_secret(
        &self,
        config: &ProviderConfig,
    ) -> Result<SecretString, Error> {
        let plain = self.open(&config.whose(), &config.sealed()).await?;
        let text = std::str::from_utf8(&plain)
            .map_err(|_| anyhow::anyhow!("an opened client secret is no text"))?;
        Ok(text.into())
    }

    /// Of two that make a first key at the same time, one is stored and both use it.
    async fn first(&self, tenant: TenantId) -> Result<WrappedKey, Error> {
        let made = self.vault.new_tenant_key(tenant, 1, &PrintKey::random(tenant)?).await?;
        let mut tx = self.db.begin(tenant).await?;
        store::tenant_key::insert_if_first(&mut tx, &made).await?;
        let stored = store::tenant_key::find_active(&mut tx).await?;
        tx.commit().await?;
        stored.ok_or_else(|| VaultError::NoTenantKey(1).into())
    }
}
