//! Google Pub/Sub push: a JSON Web Token of Google's, signed for our audience in the name of one service account.

use chrono::{DateTime, Utc};
use http::HeaderMap;
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{Jwk, JwkSet},
};
use serde::Deserialize;
use subtle::ConstantTimeEq;

use super::{Verified, VerifyError, text};
use crate::options::Verify;

/// Clocks differ by so much at most, in seconds.
const LEEWAY: i64 = 30;
const ISSUERS: [&str; 2] = ["https://accounts.google.com", "accounts.google.com"];

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    exp: i64,
    #[serde(default)]
    iat: Option<i64>,
    #[serde(default)]
    email: String,
    #[serde(default)]
    email_verified: bool,
}

/// The name of the key the token says it was signed with. Nothing is believed yet: this only tells which key to look for.
pub fn key_id(headers: &HeaderMap) -> Result<String, VerifyError> {
    let header =
        jsonwebtoken::decode_header(token(headers)?).map_err(|_| VerifyError::Malformed)?;
    if header.alg != Algorithm::RS256 {
        return Err(VerifyError::Malformed);
    }
    header.kid.ok_or(VerifyError::Malformed)
}

/// Checks the token against Google's keys and what the options say about audience and account.
pub fn verify(
    options: &Verify,
    headers: &HeaderMap,
    now: DateTime<Utc>,
    keys: &JwkSet,
) -> Result<Verified, VerifyError> {
    let kid = key_id(headers)?;
    let key = keys.find(&kid).ok_or(VerifyError::Mismatch)?;
    let claims = claims(token(headers)?, key)?;
    let (Some(audience), Some(account)) = (&options.audience, &options.service_account) else {
        return Err(VerifyError::BadSecret);
    };
    let seconds = now.timestamp();
    if claims.exp.saturating_add(LEEWAY) < seconds
        || claims.iat.is_some_and(|iat| iat.saturating_sub(LEEWAY) > seconds)
    {
        return Err(VerifyError::Stale);
    }
    let right = ISSUERS.contains(&claims.iss.as_str())
        && bool::from(claims.aud.as_bytes().ct_eq(audience.as_bytes()))
        && bool::from(claims.email.as_bytes().ct_eq(account.as_bytes()))
        && claims.email_verified;
    if right { Ok(Verified::default()) } else { Err(VerifyError::Mismatch) }
}

/// The claims of a token that this key has signed. Times are compared by our own clock, afterwards.
fn claims(token: &str, key: &Jwk) -> Result<Claims, VerifyError> {
    let key = DecodingKey::from_jwk(key).map_err(|_| VerifyError::Mismatch)?;
    let mut rules = Validation::new(Algorithm::RS256);
    rules.validate_exp = false;
    rules.validate_aud = false;
    rules.set_required_spec_claims::<&str>(&[]);
    let decoded = jsonwebtoken::decode::<Claims>(token, &key, &rules);
    decoded.map(|decoded| decoded.claims).map_err(|_| VerifyError::Mismatch)
}

fn token(headers: &HeaderMap) -> Result<&str, VerifyError> {
    match text(headers, "authorization")?.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(VerifyError::Malformed),
    }
}
