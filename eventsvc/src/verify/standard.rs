//! Standard Webhooks 1.0: HMAC-SHA256 over `id.timestamp.body`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use super::{Verified, VerifyError, text, time};
use crate::options::Verify;

/// What stands before the base64 of a signing secret.
pub(crate) const SECRET_PREFIX: &str = "whsec_";

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
    let mac = keyed(secret)?
        .chain_update(id)
        .chain_update(".")
        .chain_update(timestamp)
        .chain_update(".")
        .chain_update(body);
    let matches = signatures
        .split_ascii_whitespace()
        .filter_map(|signature| signature.strip_prefix("v1,"))
        .take(MOST_SIGNATURES)
        .filter_map(|encoded| STANDARD.decode(encoded).ok())
        .any(|signature| mac.clone().verify_slice(&signature).is_ok());
    if matches && !id.is_empty() {
        Ok(Verified { dedupe_key: Some(id.to_owned()), at: Some(at) })
    } else {
        Err(VerifyError::Mismatch)
    }
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
