//! API keys: `sy_` and 32 random bytes in hex. Only the hash is stored; the key is shown once.

use rand::Rng as _;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

/// What every key starts with, so that people and secret scanners know one when they see it.
const PREFIX: &str = "sy_";
/// How much of a key is stored and listed, to recognise it by.
const SHOWN: usize = PREFIX.len() + 8;

/// The SHA-256 of a key: what is stored and looked up. A key is random, so no salt and no slow hash are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeyHash(pub(crate) [u8; 32]);

/// A key that was just made.
pub(crate) struct NewKey {
    pub(crate) secret: SecretString,
    pub(crate) prefix: String,
    pub(crate) hash: KeyHash,
}

impl NewKey {
    /// A key nobody has.
    pub(crate) fn generate() -> Self {
        let mut bytes = [0; 32];
        rand::rng().fill_bytes(&mut bytes);
        let secret = SecretString::from(format!("{PREFIX}{}", hex(&bytes)));
        let prefix = secret.expose_secret()[..SHOWN].to_owned();
        let hash = hash(secret.expose_secret());
        Self { secret, prefix, hash }
    }
}

/// The hash of what looks like a key; anything else is none, and needs no look-up.
pub(crate) fn parse(text: &str) -> Option<KeyHash> {
    let digits = text.strip_prefix(PREFIX)?;
    let well_formed =
        digits.len() == 64 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    well_formed.then(|| hash(text))
}

fn hash(key: &str) -> KeyHash {
    KeyHash(Sha256::digest(key).into())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_read_back_as_itself() {
        let (one, other) = (NewKey::generate(), NewKey::generate());

        assert_eq!(parse(one.secret.expose_secret()), Some(one.hash));
        assert_ne!(one.hash, other.hash);
        assert!(one.secret.expose_secret().starts_with(&one.prefix));
        assert_eq!(one.prefix.len(), 11);
    }

    #[test]
    fn what_is_no_key_is_not_looked_up() {
        let upper = format!("sy_{}", "A".repeat(64));
        for text in ["", "sy_", "sy_12", "eyJhbGciOiJFZERTQSJ9.e30.c2ln", upper.as_str()] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
