//! Proof of origin: small pure functions of headers, raw body, address, time and secret.
//!
//! Invariant: a proof is compared in constant time, and over the bytes as they came, never over parsed JSON. The address is
//! the public one that was configured, never what a header of the request says.

mod github;
pub mod google;
mod hmac;
mod hubspot;
mod shared;
mod slack;
mod standard;
mod stripe;

use chrono::{DateTime, Utc};
use http::HeaderMap;
use secrecy::SecretString;

pub use crate::options::{Algorithm, Encoding, Scheme, Verify};

/// A request as its proof sees it.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The public address it was sent to, query included; none when nobody configured it.
    pub url: Option<&'a str>,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body as it came.
    pub body: &'a [u8],
}

/// What a source's deliveries are verified with.
#[derive(Clone, Debug, Default)]
pub struct Secret {
    /// Signing key or token.
    pub secret: SecretString,
    /// The user of HTTP Basic.
    pub username: Option<String>,
    /// The key before this one, while both are believed.
    pub previous: Option<Previous>,
}

/// A key that is being replaced.
#[derive(Clone, Debug)]
pub struct Previous {
    /// Signing key or token.
    pub secret: SecretString,
    /// It is not believed after this; without a time it is until it is taken away.
    pub until: Option<DateTime<Utc>>,
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
    /// The scheme signs the address, and nobody told us which that is.
    #[error("the scheme signs the public address, which is not configured")]
    NoAddress,
}

/// Checks a delivery against its source's scheme, with the present key and, while it is believed, with the one before.
/// [`Scheme::GoogleOidc`] has keys of its own: see [`google::verify`].
pub fn verify(
    options: &Verify,
    request: &Signed<'_>,
    now: DateTime<Utc>,
    secret: &Secret,
) -> Result<Verified, VerifyError> {
    let found = with_key(options, request, now, secret);
    let previous = secret.previous.as_ref();
    let Some(previous) = previous.filter(|key| key.until.is_none_or(|until| now < until)) else {
        return found;
    };
    match found {
        Err(VerifyError::Mismatch | VerifyError::BadSecret) => {
            let before = Secret {
                secret: previous.secret.clone(),
                username: secret.username.clone(),
                previous: None,
            };
            with_key(options, request, now, &before).or(found)
        }
        found => found,
    }
}

fn with_key(
    options: &Verify,
    request: &Signed<'_>,
    now: DateTime<Utc>,
    secret: &Secret,
) -> Result<Verified, VerifyError> {
    let (headers, body, key) = (request.headers, request.body, &secret.secret);
    match options.scheme {
        Scheme::StandardWebhooks => standard::verify(options, headers, body, now, key),
        Scheme::Hmac => hmac::verify(options, headers, body, now, key),
        Scheme::Bearer => shared::bearer(options, headers, key),
        Scheme::Basic => shared::basic(headers, secret),
        Scheme::Github => github::verify(headers, body, key),
        Scheme::Slack => slack::verify(options, headers, body, now, key),
        Scheme::Stripe => stripe::verify(options, headers, body, now, key),
        Scheme::Hubspot => hubspot::v3(options, request, now, key),
        Scheme::HubspotV1 => hubspot::v1(request, key),
        Scheme::GoogleOidc => Err(VerifyError::BadSecret),
        Scheme::None => Ok(Verified::default()),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, VerifyError> {
    headers.get(name).ok_or(VerifyError::Missing)?.to_str().map_err(|_| VerifyError::Malformed)
}

/// A key as bytes; an empty one would let everybody in.
fn bytes(secret: &SecretString) -> Result<&[u8], VerifyError> {
    let key = secrecy::ExposeSecret::expose_secret(secret).as_bytes();
    if key.is_empty() { Err(VerifyError::BadSecret) } else { Ok(key) }
}

/// Reads Unix seconds, refusing what is too far from now in either direction.
fn time(text: &str, now: DateTime<Utc>, tolerance: i64) -> Result<DateTime<Utc>, VerifyError> {
    let seconds: i64 = text.parse().map_err(|_| VerifyError::Malformed)?;
    let at = DateTime::from_timestamp(seconds, 0).ok_or(VerifyError::Malformed)?;
    near(at, now, tolerance)
}

/// Refuses a time that is too far from now in either direction, counted in whole seconds.
fn near(
    at: DateTime<Utc>,
    now: DateTime<Utc>,
    tolerance: i64,
) -> Result<DateTime<Utc>, VerifyError> {
    let apart = now.timestamp().saturating_sub(at.timestamp()).saturating_abs();
    if apart > tolerance { Err(VerifyError::Stale) } else { Ok(at) }
}

#[cfg(test)]
#[path = "verify_google.rs"]
mod google_tokens;
#[cfg(test)]
#[path = "verify_mutations.rs"]
mod mutations;
#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
