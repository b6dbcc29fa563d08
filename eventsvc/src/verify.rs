//! Proof of origin: small pure functions of headers, raw body, time and secret.
//!
//! Invariant: a proof is compared in constant time, and over the bytes as they came, never over parsed JSON.

mod hmac;
mod shared;
mod standard;

use chrono::{DateTime, Utc};
use http::HeaderMap;
use secrecy::SecretString;

use crate::options::{Scheme, Verify};

/// What a source's deliveries are verified with.
#[derive(Clone, Debug, Default)]
pub struct Secret {
    /// Signing key or token.
    pub secret: SecretString,
    /// The user of HTTP Basic.
    pub username: Option<String>,
}

/// What the proof itself says about the delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// The provider's id of it.
    pub dedupe_key: Option<String>,
    /// When the provider says it happened.
    pub at: Option<DateTime<Utc>>,
}

/// Why a delivery is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A header of the scheme is not there.
    #[error("a header that the signature needs is missing")]
    Missing,
    /// A header of the scheme cannot be read.
    #[error("a header that the signature needs cannot be read")]
    Malformed,
    /// The signed time is too far from now.
    #[error("the signed time is too far from now")]
    Stale,
    /// The proof is wrong.
    #[error("the signature does not match")]
    Mismatch,
    /// Our own secret is not one this scheme can use.
    #[error("the stored secret does not fit the scheme")]
    BadSecret,
}

/// Checks a delivery against its source's scheme.
pub fn verify(
    options: &Verify,
    headers: &HeaderMap,
    body: &[u8],
    now: DateTime<Utc>,
    secret: &Secret,
) -> Result<Verified, VerifyError> {
    match options.scheme {
        Scheme::StandardWebhooks => standard::verify(options, headers, body, now, &secret.secret),
        Scheme::Hmac => hmac::verify(options, headers, body, now, &secret.secret),
        Scheme::Bearer => shared::bearer(options, headers, &secret.secret),
        Scheme::Basic => shared::basic(headers, secret),
        Scheme::None => Ok(Verified::default()),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, VerifyError> {
    headers.get(name).ok_or(VerifyError::Missing)?.to_str().map_err(|_| VerifyError::Malformed)
}

/// Reads Unix seconds, refusing what is too far from now in either direction.
fn time(text: &str, now: DateTime<Utc>, tolerance: i64) -> Result<DateTime<Utc>, VerifyError> {
    let seconds: i64 = text.parse().map_err(|_| VerifyError::Malformed)?;
    let at = DateTime::from_timestamp(seconds, 0).ok_or(VerifyError::Malformed)?;
    if (now.timestamp() - seconds).abs() > tolerance {
        return Err(VerifyError::Stale);
    }
    Ok(at)
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
