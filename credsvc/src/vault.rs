//! Envelope encryption: the root key wraps a key per tenant, which wraps a key per secret, which seals the secret.
//!
//! Every ciphertext is bound to what it is for (purpose, tenant, credential, owner, version), so a row that is edited or
//! put in another row's place does not open. Keys are fresh and random, so is each 96-bit nonce; unwrapped tenant keys
//! live in memory for a limited time and are wiped when they leave it.

mod bound;
mod entry;
mod key;
mod kms;
mod pause;
mod print;
mod remote;
mod ring;
mod root;
mod token;
mod transit;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::{BoxFuture, FutureExt as _, Shared, WeakShared};
use moka::sync::Cache;
use shared_models::{CredentialId, TenantId, UserId};
use zeroize::Zeroizing;

use bound::Bound;
pub use entry::{SecretSource, TransitEntry, TransitLogin};
pub(crate) use key::Key;
pub use kms::KmsConfig;
pub(crate) use kms::KmsRoot;
pub(crate) use print::PrintKey;
pub(crate) use ring::Ring;
pub(crate) use root::{EnvRoot, FileRoot, IfMissing, RootKey, RootKeyError};
pub use transit::TransitConfig;
pub(crate) use transit::TransitRoot;

/// Why something does not open. Never says what was inside.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VaultError {
    /// The stored text is not one of ours.
    #[error("the sealed text is not of the form sy:v<version>:<base64url>")]
    Malformed,
    /// Some of the stored text is missing.
    #[error("the sealed text is cut short")]
    Truncated,
    /// The text names another version than its row.
    #[error("the sealed text is of version {found}, its row says {expected}")]
    OtherVersion {
        /// What the row says.
        expected: i32,
        /// What the text says.
        found: i32,
    },
    /// The authentication tag does not match.
    #[error(
        "the sealed text does not open: it was changed, belongs to another row, or was sealed under another key"
    )]
    Refused,
    /// The tenant's key was wrapped by a root key that is not configured.
    #[error(
        "the tenant's key is wrapped under root key version {wanted}; version {present} is configured"
    )]
    OtherRoot {
        /// Which root key is needed.
        wanted: i32,
        /// Which one there is.
        present: i32,
    },
    /// The tenant's key is gone, or retired.
    #[error("the tenant has no usable key of version {0}")]
    NoTenantKey(i32),
    /// The root key is elsewhere, and does not answer.
    #[error("the root key cannot be used now: {0}")]
    RootDown(String),
    /// The operating system gave no randomness.
    #[error("no randomness is available")]
    Random,
}

/// A tenant's key as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct WrappedKey {
    /// Which of the tenant's keys.
    pub(crate) version: i32,
    /// `sy:v<root version>:…`
    pub(crate) wrapped: String,
    /// The root key it is under.
    pub(crate) root_version: i32,
}

/// A tenant's key, ready to use.
#[derive(Clone, Debug)]
pub(crate) struct TenantKey {
    tenant: TenantId,
    version: i32,
    key: Arc<Key>,
}

/// What a secret belongs to; everything here is authenticated with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whose {
    /// The tenant.
    pub(crate) tenant: TenantId,
    /// The credential.
    pub(crate) credential: CredentialId,
    /// Its owner; none when it is the tenant's.
    pub(crate) user: Option<UserId>,
    /// The version of the secret.
    pub(crate) version: i32,
}

/// A secret as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    /// The version of the tenant's key that wraps the data key.
    pub(crate) tenant_key_version: i32,
    /// `sy:v<tenant key version>:…`
    pub(crate) data_key: String,
    /// `sy:v<version of the secret>:…`
    pub(crate) secret: String,
}

/// Seals and opens. Cheap to clone; knows no SQL.
#[derive(Clone)]
pub(crate) struct Vault {
    root: Ring,
    unwrapped: Cache<(TenantId, i32), Arc<Key>>,
    /// What the root key is being asked for.
    asking: Arc<Mutex<Attempts>>,
}

/// Ends with its last waiter; goes on while there is one.
type Asking = BoxFuture<'static, Result<Arc<Key>, VaultError>>;
/// By tenant and version of its key.
type Attempts = HashMap<(TenantId, i32), WeakShared<Asking>>;

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Vault {
    /// A vault under root keys; unwrapped tenant keys are kept for `ttl`.
    pub(crate) fn new(root: Ring, ttl: Duration) -> Self {
        let unwrapped = Cache::builder().max_capacity(10_000).time_to_live(ttl).build();
        Self { root, unwrapped, asking: Arc::default() }
    }

    /// Whether the root key can be used now.
    pub(crate) async fn check(&self) -> Result<(), RootKeyError> {
        self.root.check().await
    }

    /// Makes and wraps a tenant's next key, and has it wrap the tenant's key for fingerprints. Neither is stored.
    pub(crate) async fn new_tenant_key(
        &self,
        tenant: TenantId,
        version: i32,
        prints: &PrintKey,
    ) -> Result<(WrappedKey, String), VaultError> {
        let key = Key::random()?;
        let print_key = prints.wrapped_by(&key, version)?;
        Ok((self.root.wrap(tenant, version, key).await?, print_key))
    }

    /// The version of the root key that wraps now.
    pub(crate) fn root_version(&self) -> i32 {
        self.root.version()
    }

    /// The same tenant's key under the newest root key. It is not stored.
    pub(crate) async fn rewrap(
        &self,
        tenant: TenantId,
        stored: &WrappedKey,
    ) -> Result<WrappedKey, VaultError> {
        let key = self.root.unwrap(tenant, stored).await?;
        self.root.wrap(tenant, stored.version, key).await
    }

    /// A tenant's key, if it is in memory.
    pub(crate) fn remembered(&self, tenant: TenantId, version: i32) -> Option<TenantKey> {
        let key = self.unwrapped.get(&(tenant, version))?;
        Some(TenantKey { tenant, version, key })
    }

    /// Wipes a tenant's key that may no longer be used, once its last user lets go of it.
    pub(crate) fn forget(&self, tenant: TenantId, version: i32) {
        self.unwrapped.invalidate(&(tenant, version));
    }

    /// Wipes the keys whose time is over. Without traffic nobody else does.
    pub(crate) fn sweep(&self) {
        self.unwrapped.run_pending_tasks();
    }

    /// Sees to it that the root keys can be used later too.
    pub(crate) async fn tend(&self) {
        self.root.tend().await;
    }

    /// Unwraps a tenant's key, or takes it from memory. Of many who need the same key at the same time, one asks, and all
    /// take what comes of it, be it an error; who needs another key waits for none of them.
    pub(crate) async fn tenant_key(
        &self,
        tenant: TenantId,
        stored: &WrappedKey,
    ) -> Result<TenantKey, VaultError> {
        let version = stored.version;
        if let Some(key) = self.remembered(tenant, version) {
            return Ok(key);
        }
        let key = self.asked(tenant, stored).await?;
        Ok(TenantKey { tenant, version, key })
    }

    /// The attempt to unwrap a key that is under way, or a new one.
    fn asked(&self, tenant: TenantId, stored: &WrappedKey) -> Shared<Asking> {
        let which = (tenant, stored.version);
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        asking.retain(|_, attempt| attempt.upgrade().is_some_and(|it| it.peek().is_none()));
        if let Some(attempt) = asking.get(&which).and_then(WeakShared::upgrade) {
            return attempt;
        }
        let (vault, stored) = (self.clone(), stored.clone());
        let attempt = async move {
            // One that was under way may have ended just now.
            if let Some(key) = vault.unwrapped.get(&which) {
                return Ok(key);
            }
            let key = Arc::new(vault.root.unwrap(tenant, &stored).await?);
            vault.unwrapped.insert(which, key.clone());
            Ok(key)
        };
        let attempt = attempt.boxed().shared();
        asking.extend(attempt.downgrade().map(|weak| (which, weak)));
        attempt
    }
}

impl TenantKey {
    /// Which of the tenant's keys it is.
    pub(crate) fn version(&self) -> i32 {
        self.version
    }

    /// Whether it is this one.
    pub(crate) fn is(&self, tenant: TenantId, version: i32) -> bool {
        self.tenant == tenant && self.version == version
    }

    /// Seals a secret under a data key of its own.
    pub(crate) fn seal(&self, whose: &Whose, plain: &[u8]) -> Result<Sealed, VaultError> {
        let data_key = Key::random()?;
        let wrapped = self.key.wrap(&data_key, self.version, &Bound::data_key(whose))?;
        let secret = data_key.seal(plain, whose.version, &Bound::secret(whose))?;
        Ok(Sealed { tenant_key_version: self.version, data_key: wrapped, secret })
    }

    /// Opens what [`TenantKey::seal`] made for the very same `whose`.
    pub(crate) fn open(
        &self,
        whose: &Whose,
        stored: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let data_key = self.key.unwrap(&stored.data_key, self.version, &Bound::data_key(whose))?;
        data_key.open(&stored.secret, whose.version, &Bound::secret(whose))
    }

    /// Puts a secret's data key under another of the tenant's keys; the secret itself is not opened.
    pub(crate) fn rewrap(
        &self,
        whose: &Whose,
        data_key: &str,
        to: &Self,
    ) -> Result<String, VaultError> {
        let bound = Bound::data_key(whose);
        let key = self.key.unwrap(data_key, self.version, &bound)?;
        to.key.wrap(&key, to.version, &bound)
    }
}

#[cfg(test)]
#[path = "vault_tests.rs"]
mod tests;
