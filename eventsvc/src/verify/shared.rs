//! Shared secrets sent along: a token in a header, or HTTP Basic.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Secret, Verified, VerifyError, text};
use crate::options::Verify;

pub(super) fn bearer(
    options: &Verify,
    headers: &HeaderMap,
    secret: &SecretString,
) -> Result<Verified, VerifyError> {
    let header = options.header.as_deref();
    let value = text(headers, header.unwrap_or("authorization"))?;
    let sent = match (header, options.prefix.as_deref()) {
        (_, Some(prefix)) => value.strip_prefix(prefix).ok_or(VerifyError::Malformed)?,
        (Some(_), None) => value,
        (None, None) => after_scheme(value, "bearer")?,
    };
    same(sent.trim().as_bytes(), secret.expose_secret().as_bytes())
}

pub(super) fn basic(headers: &HeaderMap, secret: &Secret) -> Result<Verified, VerifyError> {
    let encoded = after_scheme(text(headers, "authorization")?, "basic")?;
    let sent = STANDARD.decode(encoded.trim()).map_err(|_| VerifyError::Malformed)?;
    if secret.secret.expose_secret().is_empty() {
        return Err(VerifyError::BadSecret);
    }
    let user = secret.username.as_deref().ok_or(VerifyError::BadSecret)?;
    same(&sent, format!("{user}:{}", secret.secret.expose_secret()).as_bytes())
}

fn after_scheme<'a>(value: &'a str, scheme: &str) -> Result<&'a str, VerifyError> {
    match value.split_once(' ') {
        Some((said, rest)) if said.eq_ignore_ascii_case(scheme) => Ok(rest),
        _ => Err(VerifyError::Malformed),
    }
}

/// Compares hashes, so that not even the length shows in the time it takes.
fn same(sent: &[u8], expected: &[u8]) -> Result<Verified, VerifyError> {
    if expected.is_empty() {
        return Err(VerifyError::BadSecret);
    }
    let equal = Sha256::digest(sent).ct_eq(&Sha256::digest(expected));
    if equal.into() { Ok(Verified::default()) } else { Err(VerifyError::Mismatch) }
}
