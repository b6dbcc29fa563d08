//! The root keys by version: the newest wraps, all unwrap what they wrapped.

use std::{collections::BTreeMap, sync::Arc};

use super::{Key, RootKey, RootKeyError, VaultError, WrappedKey, bound::Bound};
use shared_models::TenantId;

/// Never empty.
#[derive(Clone)]
pub(crate) struct Ring {
    current: Arc<dyn RootKey>,
    all: BTreeMap<i32, Arc<dyn RootKey>>,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.all.values().map(|root| (root.version(), root.name()));
        f.debug_map().entries(names).finish()
    }
}

impl Ring {
    /// A ring of one key.
    pub(crate) fn of(current: Arc<dyn RootKey>) -> Self {
        Self { all: BTreeMap::from([(current.version(), current.clone())]), current }
    }

    /// The same with a key that only unwraps.
    #[must_use]
    pub(crate) fn with(mut self, old: Arc<dyn RootKey>) -> Self {
        self.all.entry(old.version()).or_insert(old);
        self
    }

    /// The version that wraps now.
    pub(crate) fn version(&self) -> i32 {
        self.current.version()
    }

    /// Seals a tenant's key under the newest root key.
    pub(super) async fn wrap(
        &self,
        tenant: TenantId,
        version: i32,
        key: Key,
    ) -> Result<WrappedKey, VaultError> {
        let root_version = self.version();
        let bound = Bound::tenant_key(tenant, version, root_version);
        let wrapped = self.current.wrap(key, bound).await?;
        Ok(WrappedKey { version, wrapped, root_version })
    }

    /// Opens a tenant's key under whichever root key it is.
    pub(super) async fn unwrap(
        &self,
        tenant: TenantId,
        stored: &WrappedKey,
    ) -> Result<Key, VaultError> {
        let wanted = stored.root_version;
        let root = self
            .all
            .get(&wanted)
            .ok_or_else(|| VaultError::OtherRoot { wanted, present: self.version() })?;
        let bound = Bound::tenant_key(tenant, stored.version, wanted);
        root.unwrap(stored.wrapped.clone(), bound).await
    }

    /// Whether all of them can be used now.
    pub(super) async fn check(&self) -> Result<(), RootKeyError> {
        for root in self.all.values() {
            root.check().await?;
        }
        Ok(())
    }

    /// Sees to it that all of them can be used later too.
    pub(super) async fn tend(&self) {
        for root in self.all.values() {
            root.tend().await;
        }
    }
}
