//! What a ciphertext is bound to: the associated data of each of the three layers.

use shared_models::{TenantId, UserId};

use super::Whose;

/// Associated data: parts with their lengths, so that no two lists of parts give the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bound(Vec<u8>);

impl Bound {
    /// Of a tenant's key under the root key.
    pub(super) fn tenant_key(tenant: TenantId, version: i32, root_version: i32) -> Self {
        Self::of(
            "tenant-key",
            &[tenant.uuid().as_bytes(), &version.to_be_bytes(), &root_version.to_be_bytes()],
        )
    }

    /// Of a data key under the tenant's key. The tenant key's version is not in it, but in the text's own form: a
    /// wrapped key only opens under the key that wrapped it.
    pub(super) fn data_key(whose: &Whose) -> Self {
        Self::of_secret("data-key", whose)
    }

    /// Of a secret under its data key.
    pub(super) fn secret(whose: &Whose) -> Self {
        Self::of_secret("secret", whose)
    }

    /// Of a tenant's key for fingerprints under the tenant's key.
    pub(super) fn print_key(tenant: TenantId) -> Self {
        Self::of("print-key", &[tenant.uuid().as_bytes()])
    }

    /// The bytes to authenticate.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn of_secret(purpose: &str, whose: &Whose) -> Self {
        let user = whose.user.map(UserId::uuid);
        Self::of(
            purpose,
            &[
                whose.tenant.uuid().as_bytes(),
                whose.credential.uuid().as_bytes(),
                user.as_ref().map_or(&[][..], |user| user.as_bytes()),
                &whose.version.to_be_bytes(),
            ],
        )
    }

    fn of(purpose: &str, parts: &[&[u8]]) -> Self {
        let mut bytes = Vec::with_capacity(96);
        for part in [b"switchyard".as_slice(), purpose.as_bytes()].iter().chain(parts) {
            bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        Self(bytes)
    }
}
