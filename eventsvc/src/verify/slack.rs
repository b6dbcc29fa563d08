//! Slack: `v0=` and the hexadecimal HMAC-SHA256 of `v0:<time>:<body>`.

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use secrecy::SecretString;
use sha2::Sha256;

use super::{Verified, VerifyError, bytes, text, time};
use crate::options::Verify;

pub(super) fn verify(
    options: &Verify,
    headers: &HeaderMap,
    body: &[u8],
    now: DateTime<Utc>,
    secret: &SecretString,
) -> Result<Verified, VerifyError> {
    let timestamp = text(headers, "x-slack-request-timestamp")?;
    let signature = text(headers, "x-slack-signature")?;
    let at = time(timestamp, now, options.tolerance())?;
    let hex = signature.strip_prefix("v0=").ok_or(VerifyError::Malformed)?;
    let signature = hex::decode(hex).map_err(|_| VerifyError::Malformed)?;
    let mac = Hmac::<Sha256>::new_from_slice(bytes(secret)?).map_err(|_| VerifyError::BadSecret)?;
    mac.chain_update("v0:")
        .chain_update(timestamp)
        .chain_update(":")
        .chain_update(body)
        .verify_slice(&signature)
        .map_err(|_| VerifyError::Mismatch)?;
    Ok(Verified { dedupe_key: None, at: Some(at) })
}
