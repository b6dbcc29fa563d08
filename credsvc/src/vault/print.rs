//! Keyed hashes, for comparing secrets that must not be stored, not even as a plain hash: a short one could be found by
//! trying.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use shared_models::TenantId;
use zeroize::Zeroizing;

use super::{Key, TenantKey, VaultError, bound::Bound};

/// A tenant's key for fingerprints that outlast its other keys: each new key of the tenant wraps the same one, so a
/// fingerprint of before an exchange is like one of after it.
#[derive(Debug)]
pub(crate) struct PrintKey {
    tenant: TenantId,
    key: Key,
}

impl PrintKey {
    pub(crate) fn random(tenant: TenantId) -> Result<Self, VaultError> {
        Ok(Self { tenant, key: Key::random()? })
    }

    pub(crate) fn fingerprint(&self, secret: &[u8]) -> [u8; 32] {
        hash(&self.key, b"switchyard/lasting-fingerprint\0", self.tenant, secret)
    }

    pub(super) fn wrapped_by(&self, key: &Key, version: i32) -> Result<String, VaultError> {
        key.wrap(&self.key, version, &Bound::print_key(self.tenant))
    }
}

impl TenantKey {
    /// A fingerprint that only this key of the tenant makes.
    pub(crate) fn fingerprint(&self, secret: &[u8]) -> [u8; 32] {
        hash(&self.key, b"switchyard/fingerprint\0", self.tenant, secret)
    }

    /// Puts the tenant's key for fingerprints under this one.
    pub(crate) fn wrap_print_key(&self, prints: &PrintKey) -> Result<String, VaultError> {
        prints.wrapped_by(&self.key, self.version)
    }

    /// The tenant's key for fingerprints.
    pub(crate) fn print_key(&self, wrapped: &str) -> Result<PrintKey, VaultError> {
        let key = self.key.unwrap(wrapped, self.version, &Bound::print_key(self.tenant))?;
        Ok(PrintKey { tenant: self.tenant, key })
    }
}

fn hash(key: &Key, purpose: &[u8], tenant: TenantId, secret: &[u8]) -> [u8; 32] {
    // A key shorter than a block is padded with zeros (RFC 2104).
    let mut block = Zeroizing::new([0; 64]);
    block[..32].copy_from_slice(key.bytes());
    let mut mac = Hmac::<Sha256>::new((&*block).into());
    mac.update(purpose);
    mac.update(tenant.uuid().as_bytes());
    mac.update(secret);
    mac.finalize().into_bytes().into()
}
