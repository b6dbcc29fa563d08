//! One AES-256-GCM key, and the text form of what it seals: `sy:v<version>:<base64url of nonce, ciphertext, tag>`.

use aes_gcm::{
    Aes256Gcm, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{TryRng as _, rngs::SysRng};
use zeroize::{Zeroize as _, Zeroizing};

use super::{VaultError, bound::Bound};

const NONCE: usize = 12;
const TAG: usize = 16;

/// 32 secret bytes; wiped when dropped, never printed.
pub(crate) struct Key(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    /// A fresh key.
    pub(crate) fn random() -> Result<Self, VaultError> {
        let mut bytes = Zeroizing::new([0; 32]);
        SysRng.try_fill_bytes(bytes.as_mut_slice()).map_err(|_| VaultError::Random)?;
        Ok(Self(bytes))
    }

    /// A key from its bytes, which are wiped.
    pub(crate) fn from_bytes(bytes: &mut [u8; 32]) -> Self {
        let key = Self(Zeroizing::new(*bytes));
        bytes.zeroize();
        key
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Seals `plain`, bound to `bound`. `version` is what the text form says.
    pub(crate) fn seal(
        &self,
        plain: &[u8],
        version: i32,
        bound: &Bound,
    ) -> Result<String, VaultError> {
        let mut nonce = [0; NONCE];
        SysRng.try_fill_bytes(&mut nonce).map_err(|_| VaultError::Random)?;
        let payload = Payload { msg: plain, aad: bound.as_bytes() };
        let sealed =
            self.cipher().encrypt(&Nonce::from(nonce), payload).map_err(|_| VaultError::Refused)?;
        let blob = [nonce.as_slice(), &sealed].concat();
        Ok(format!("sy:v{version}:{}", URL_SAFE_NO_PAD.encode(blob)))
    }

    /// Opens a text that must be of `version` and bound to `bound`.
    pub(crate) fn open(
        &self,
        text: &str,
        version: i32,
        bound: &Bound,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let blob = parse(text, version)?;
        let (nonce, sealed) = blob.split_at_checked(NONCE).ok_or(VaultError::Truncated)?;
        if sealed.len() < TAG {
            return Err(VaultError::Truncated);
        }
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| VaultError::Truncated)?;
        let payload = Payload { msg: sealed, aad: bound.as_bytes() };
        let plain = self.cipher().decrypt(&Nonce::from(nonce), payload);
        plain.map(Zeroizing::new).map_err(|_| VaultError::Refused)
    }

    /// Seals another key.
    pub(crate) fn wrap(
        &self,
        key: &Self,
        version: i32,
        bound: &Bound,
    ) -> Result<String, VaultError> {
        self.seal(key.bytes(), version, bound)
    }

    /// Opens a sealed key.
    pub(crate) fn unwrap(
        &self,
        text: &str,
        version: i32,
        bound: &Bound,
    ) -> Result<Self, VaultError> {
        let plain = self.open(text, version, bound)?;
        let mut bytes: [u8; 32] = plain.as_slice().try_into().map_err(|_| VaultError::Malformed)?;
        Ok(Self::from_bytes(&mut bytes))
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(self.bytes().into())
    }
}

/// The bytes of a text of ours.
pub(super) fn parse(text: &str, expected: i32) -> Result<Vec<u8>, VaultError> {
    let (found, blob) = text
        .strip_prefix("sy:v")
        .and_then(|rest| rest.split_once(':'))
        .ok_or(VaultError::Malformed)?;
    let found: i32 = found.parse().map_err(|_| VaultError::Malformed)?;
    if found != expected {
        return Err(VaultError::OtherVersion { expected, found });
    }
    URL_SAFE_NO_PAD.decode(blob).map_err(|_| VaultError::Malformed)
}
