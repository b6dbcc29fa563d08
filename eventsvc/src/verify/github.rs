//! GitHub: the hexadecimal HMAC-SHA256 of the body in `X-Hub-Signature-256`. It signs no time; a repetition is told by
//! `X-GitHub-Delivery`.

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use secrecy::SecretString;
use sha2::Sha256;

use super::{Verified, VerifyError, bytes, text};

pub(super) fn verify(
    headers: &HeaderMap,
    body: &[u8],
    secret: &SecretString,
) -> Result<Verified, VerifyError> {
    let signature = text(headers, "x-hub-signature-256")?;
    let hex = signature.strip_prefix("sha256=").ok_or(VerifyError::Malformed)?;
    let signature = hex::decode(hex).map_err(|_| VerifyError::Malformed)?;
    let mut mac =
        Hmac::<Sha256>::new_from_slice(bytes(secret)?).map_err(|_| VerifyError::BadSecret)?;
    mac.update(body);
    mac.verify_slice(&signature).map_err(|_| VerifyError::Mismatch)?;
    // Not signed itself, but a wrong one only makes a repetition look new to who could send it anyway.
    let delivery = headers.get("x-github-delivery").and_then(|id| id.to_str().ok());
    let dedupe_key = delivery.filter(|id| !id.is_empty()).map(ToOwned::to_owned);
    Ok(Verified { dedupe_key, at: None })
}
