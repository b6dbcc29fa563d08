//! An HMAC of the body, or of time and body, in a header of the provider's choosing.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use secrecy::SecretString;
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::{Verified, VerifyError, bytes, text, time};
use crate::options::{Algorithm, Encoding, Verify};

pub(super) fn verify(
    options: &Verify,
    headers: &HeaderMap,
    body: &[u8],
    now: DateTime<Utc>,
    secret: &SecretString,
) -> Result<Verified, VerifyError> {
    let header = options.header.as_deref().ok_or(VerifyError::BadSecret)?;
    let signature = decode(options, text(headers, header)?)?;
    let timestamp =
        options.timestamp_header.as_deref().map(|name| text(headers, name)).transpose()?;
    let at = timestamp.map(|value| time(value, now, options.tolerance())).transpose()?;
    let key = bytes(secret)?;
    match options.algorithm.unwrap_or(Algorithm::Sha256) {
        Algorithm::Sha256 => check::<Hmac<Sha256>>(key, timestamp, body, &signature),
        Algorithm::Sha1 => check::<Hmac<Sha1>>(key, timestamp, body, &signature),
        Algorithm::Sha512 => check::<Hmac<Sha512>>(key, timestamp, body, &signature),
    }?;
    Ok(Verified { dedupe_key: None, at })
}

fn decode(options: &Verify, value: &str) -> Result<Vec<u8>, VerifyError> {
    let prefix = options.prefix.as_deref().unwrap_or_default();
    let encoded = value.trim().strip_prefix(prefix).ok_or(VerifyError::Malformed)?;
    match options.encoding.unwrap_or(Encoding::Hex) {
        Encoding::Hex => hex::decode(encoded).map_err(|_| VerifyError::Malformed),
        Encoding::Base64 => STANDARD.decode(encoded).map_err(|_| VerifyError::Malformed),
    }
}

fn check<M: Mac + KeyInit>(
    key: &[u8],
    timestamp: Option<&str>,
    body: &[u8],
    signature: &[u8],
) -> Result<(), VerifyError> {
    let mut mac = <M as KeyInit>::new_from_slice(key).map_err(|_| VerifyError::BadSecret)?;
    if let Some(timestamp) = timestamp {
        mac.update(timestamp.as_bytes());
        mac.update(b".");
    }
    mac.update(body);
    mac.verify_slice(signature).map_err(|_| VerifyError::Mismatch)
}
