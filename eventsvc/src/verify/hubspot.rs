//! HubSpot. Version 3: base64 of the HMAC-SHA256 of method, address, body and time. Versions 1 and 2, which some apps
//! still send: the plain SHA-256 of key and body, or of key, method, address and body. They sign no time, so they are a
//! scheme of their own that has to be asked for: nobody gets from 3 down to them by leaving a header out.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Signed, Verified, VerifyError, bytes, near, text};
use crate::options::Verify;

/// What HubSpot decodes in an address before it signs it.
const DECODED: [(&str, &str); 12] = [
    ("%3A", ":"),
    ("%2F", "/"),
    ("%3F", "?"),
    ("%40", "@"),
    ("%21", "!"),
    ("%24", "$"),
    ("%27", "'"),
    ("%28", "("),
    ("%29", ")"),
    ("%2A", "*"),
    ("%2C", ","),
    ("%3B", ";"),
];

pub(super) fn v3(
    options: &Verify,
    request: &Signed<'_>,
    now: DateTime<Utc>,
    secret: &SecretString,
) -> Result<Verified, VerifyError> {
    let signature = text(request.headers, "x-hubspot-signature-v3")?;
    let timestamp = text(request.headers, "x-hubspot-request-timestamp")?;
    let millis: i64 = timestamp.parse().map_err(|_| VerifyError::Malformed)?;
    let at = DateTime::from_timestamp_millis(millis).ok_or(VerifyError::Malformed)?;
    let at = near(at, now, options.tolerance())?;
    let signature = STANDARD.decode(signature).map_err(|_| VerifyError::Malformed)?;
    let url = request.url.ok_or(VerifyError::NoAddress)?;
    let mac = Hmac::<Sha256>::new_from_slice(bytes(secret)?).map_err(|_| VerifyError::BadSecret)?;
    mac.chain_update(request.method)
        .chain_update(decoded(url))
        .chain_update(request.body)
        .chain_update(timestamp)
        .verify_slice(&signature)
        .map_err(|_| VerifyError::Mismatch)?;
    Ok(Verified { dedupe_key: None, at: Some(at) })
}

pub(super) fn v1(request: &Signed<'_>, secret: &SecretString) -> Result<Verified, VerifyError> {
    let signature = text(request.headers, "x-hubspot-signature")?;
    let signature = hex::decode(signature).map_err(|_| VerifyError::Malformed)?;
    let mut hash = Sha256::new_with_prefix(bytes(secret)?);
    match text(request.headers, "x-hubspot-signature-version")? {
        "v1" => {}
        "v2" => {
            hash.update(request.method);
            hash.update(request.url.ok_or(VerifyError::NoAddress)?);
        }
        _ => return Err(VerifyError::Malformed),
    }
    hash.update(request.body);
    let equal = hash.finalize().ct_eq(signature.as_slice());
    if equal.into() { Ok(Verified::default()) } else { Err(VerifyError::Mismatch) }
}

fn decoded(url: &str) -> String {
    DECODED.iter().fold(url.to_owned(), |url, (code, plain)| {
        url.replace(code, plain).replace(&code.to_ascii_lowercase(), plain)
    })
}
