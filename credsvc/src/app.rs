//! What handlers are given.

use std::sync::Arc;

use axum::extract::FromRef;
use dbutil::Db;
use servicekit::Verifier;
use shared_models::TenantId;

use crate::{
    Error,
    config::{Config, RootKeySource},
    ledger::{Ledger, LedgerTask},
    store,
    vault::{EnvRoot, FileRoot, IfMissing, RootKey, TenantKey, Vault, VaultError},
};

/// Handles, all cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    pub(crate) db: Db,
    pub(crate) vault: Vault,
    pub(crate) ledger: Ledger,
    pub(crate) lease_seconds: u32,
    verifier: Verifier,
}

impl FromRef<App> for Verifier {
    fn from_ref(app: &App) -> Self {
        app.verifier.clone()
    }
}

impl App {
    /// Opens the vault over a migrated database. Refuses a root key that is not the one the stored keys are under.
    /// Nothing is resolved, and nobody is refused, unless the task runs.
    pub async fn open(
        config: &Config,
        db: Db,
        verifier: Verifier,
    ) -> anyhow::Result<(Self, LedgerTask)> {
        let mut tx = db.system("is the root key the right one?").await?;
        let wrapped = store::tenant_key::find_any(&mut tx).await?;
        drop(tx);
        let if_missing = if wrapped.is_some() { IfMissing::Refuse } else { IfMissing::Create };
        let vault = Vault::new(root_key(&config.root_key, if_missing)?, config.key_cache);
        if let Some((tenant, key)) = wrapped {
            vault.tenant_key(tenant, &key).await.map_err(|error| {
                anyhow::anyhow!(
                    "the root key is not the one that the stored keys are under: {error}"
                )
            })?;
        }
        let options = db.app_pool().connect_options();
        let (ledger, task) = Ledger::new(&options, config.audit_queue, vault.clone());
        Ok((Self { db, vault, ledger, lease_seconds: config.lease_seconds, verifier }, task))
    }

    /// The key that new secrets of a tenant are sealed under; made when there is none yet.
    pub(crate) async fn active_key(&self, tenant: TenantId) -> Result<TenantKey, Error> {
        let mut tx = self.db.begin(tenant).await?;
        let stored = store::tenant_key::find_active(&mut tx).await?;
        drop(tx);
        let stored = match stored {
            Some(stored) => stored,
            None => self.first_key(tenant).await?,
        };
        Ok(self.vault.tenant_key(tenant, &stored).await?)
    }

    /// One of the tenant's keys by its version.
    pub(crate) async fn key(&self, tenant: TenantId, version: i32) -> Result<TenantKey, Error> {
        if let Some(key) = self.vault.remembered(tenant, version) {
            return Ok(key);
        }
        let mut tx = self.db.begin(tenant).await?;
        let stored = store::tenant_key::find(&mut tx, version).await?;
        drop(tx);
        let stored = stored.ok_or(VaultError::NoTenantKey(version))?;
        Ok(self.vault.tenant_key(tenant, &stored).await?)
    }

    /// Of two that make a first key at the same time, one is stored and both use it.
    async fn first_key(&self, tenant: TenantId) -> Result<crate::vault::WrappedKey, Error> {
        let made = self.vault.new_tenant_key(tenant, 1).await?;
        let mut tx = self.db.begin(tenant).await?;
        store::tenant_key::insert_if_first(&mut tx, &made).await?;
        let stored = store::tenant_key::find_active(&mut tx).await?;
        tx.commit().await?;
        stored.ok_or_else(|| VaultError::NoTenantKey(1).into())
    }
}

fn root_key(source: &RootKeySource, if_missing: IfMissing) -> anyhow::Result<Arc<dyn RootKey>> {
    /// Raised when the root key is rotated.
    const VERSION: i32 = 1;
    Ok(match source {
        RootKeySource::File(path) => Arc::new(FileRoot::load(path, VERSION, if_missing)?),
        RootKeySource::Given(text) => Arc::new(EnvRoot::parse(text, VERSION)?),
    })
}
