//! Standard Webhooks 1.0 over `id.timestamp.body`: HMAC-SHA256 (`v1`) with a shared secret, or Ed25519 (`v1a`) with the
//! sender's public key.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use ed25519_dalek::{Signature, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use super::{Verified, VerifyError, text, time};
use crate::options::Verify;

/// What stands before the base64 of a signing secret.
pub(crate) const SECRET_PREFIX: &str = "whsec_";
/// What stands before the base64 of a public key.
const PUBLIC_PREFIX: &str = "whpk_";

/// Providers send one signature per key while they rotate; nobody has this many keys.
const MOST_SIGNATURES: usize = 16;

pub(super) fn verify(
    options: &Verify,
    headers: &HeaderMap,
    body: &[u8],
    now: DateTime<Utc>,
    secret: &SecretString,
) -> Result<Verified, VerifyError> {
    let id = text(headers, "webhook-id")?;
    let timestamp = text(headers, "webhook-timestamp")?;
    let signatures = text(headers, "webhook-signature")?;
    let at = time(timestamp, now, options.tolerance())?;
    let encoded = |version: &'static str| {
        signatures
            .split_ascii_whitespace()
            .filter_map(move |signature| signature.strip_prefix(version)?.strip_prefix(','))
            .take(MOST_SIGNATURES)
            .filter_map(|encoded| STANDARD.decode(encoded).ok())
    };
    let matches = if let Some(key) = public(secret)? {
        let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
        encoded("v1a").any(|bytes| {
            Signature::from_slice(&bytes)
                .is_ok_and(|found| key.verify_strict(&signed, &found).is_ok())
        })
    } else {
        let mac = keyed(secret)?
            .chain_update(id)
            .chain_update(".")
            .chain_update(timestamp)
            .chain_update(".")
            .chain_update(body);
        encoded("v1").any(|signature| mac.clone().verify_slice(&signature).is_ok())
    };
    if matches && !id.is_empty() {
        Ok(Verified { dedupe_key: Some(id.to_owned()), at: Some(at) })
    } else {
        Err(VerifyError::Mismatch)
    }
}

/// The sender's public key, if that is what is stored.
fn public(secret: &SecretString) -> Result<Option<VerifyingKey>, VerifyError> {
    let Some(text) = secret.expose_secret().trim().strip_prefix(PUBLIC_PREFIX) else {
        return Ok(None);
    };
    let bytes = STANDARD.decode(text).map_err(|_| VerifyError::BadSecret)?;
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| VerifyError::BadSecret)?;
    VerifyingKey::from_bytes(&bytes).map(Some).map_err(|_| VerifyError::BadSecret)
}

fn keyed(secret: &SecretString) -> Result<Hmac<Sha256>, VerifyError> {
    let text = secret.expose_secret().trim();
    let key = STANDARD
        .decode(text.strip_prefix(SECRET_PREFIX).unwrap_or(text))
        .map_err(|_| VerifyError::BadSecret)?;
    if key.is_empty() {
        return Err(VerifyError::BadSecret);
    }
    Hmac::new_from_slice(&key).map_err(|_| VerifyError::BadSecret)
}
