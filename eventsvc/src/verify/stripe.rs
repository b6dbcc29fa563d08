//! Stripe: `Stripe-Signature: t=<time>,v1=<hex>,…`, each `v1` an HMAC-SHA256 of `<time>.<body>`. While a key is being
//! replaced there is one per key.

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use secrecy::SecretString;
use sha2::Sha256;

use super::{Verified, VerifyError, bytes, text, time};
use crate::options::Verify;

/// Nobody signs with more keys than this at once.
const MOST_SIGNATURES: usize = 16;

pub(super) fn verify(
    options: &Verify,
    headers: &HeaderMap,
    body: &[u8],
    now: DateTime<Utc>,
    secret: &SecretString,
) -> Result<Verified, VerifyError> {
    let header = text(headers, "stripe-signature")?;
    let parts = || header.split(',').filter_map(|part| part.trim().split_once('='));
    let mut times = parts().filter(|(name, _)| *name == "t").map(|(_, value)| value);
    let (Some(timestamp), None) = (times.next(), times.next()) else {
        return Err(VerifyError::Malformed);
    };
    let at = time(timestamp, now, options.tolerance())?;
    let mac = Hmac::<Sha256>::new_from_slice(bytes(secret)?).map_err(|_| VerifyError::BadSecret)?;
    let mac = mac.chain_update(timestamp).chain_update(".").chain_update(body);
    let mut signatures = parts()
        .filter(|(name, _)| *name == "v1")
        .take(MOST_SIGNATURES)
        .filter_map(|(_, value)| hex::decode(value).ok())
        .peekable();
    if signatures.peek().is_none() {
        return Err(VerifyError::Malformed);
    }
    let matches = signatures.any(|signature| mac.clone().verify_slice(&signature).is_ok());
    if matches {
        Ok(Verified { dedupe_key: None, at: Some(at) })
    } else {
        Err(VerifyError::Mismatch)
    }
}
