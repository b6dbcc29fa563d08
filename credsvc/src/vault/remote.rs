//! What root keys on other machines have in common: JSON over HTTP, a text form, and clear errors.

use std::time::Duration;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

use super::{Key, VaultError};

/// For one answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long who was told to come back later waits, each time.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(200), Duration::from_millis(500)];

/// `sy:v<version>:<base64url of what the other side gave>`.
pub(super) fn to_text(version: i32, theirs: &str) -> String {
    format!("sy:v{version}:{}", URL_SAFE_NO_PAD.encode(theirs))
}

/// What the other side gave, out of a text that must be of `version`.
pub(super) fn from_text(text: &str, version: i32) -> Result<String, VaultError> {
    let blob = super::key::parse(text, version)?;
    String::from_utf8(blob).map_err(|_| VaultError::Malformed)
}

/// A key's bytes, as JSON carries them.
pub(super) fn encoded(key: &Key) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(key.bytes()))
}

/// A key out of the text that JSON carried, which is wiped.
pub(super) fn decoded(who: &str, value: Value) -> Result<Key, VaultError> {
    let Value::String(mut text) = value else { return Err(down(who, "no plaintext")) };
    let bytes = STANDARD.decode(text.as_bytes()).map(Zeroizing::new);
    text.zeroize();
    let bytes = bytes.map_err(|_| VaultError::Malformed)?;
    let mut bytes: [u8; 32] = bytes.as_slice().try_into().map_err(|_| VaultError::Malformed)?;
    Ok(Key::from_bytes(&mut bytes))
}

/// What an answer holds at a pointer, which is then not in it any more; null when it holds nothing there.
pub(super) fn taken(answer: &mut Value, pointer: &str) -> Value {
    answer.pointer_mut(pointer).map(Value::take).unwrap_or_default()
}

/// What the provider of a root key did not do.
pub(super) fn down(who: &str, why: impl std::fmt::Display) -> VaultError {
    VaultError::RootDown(format!("{who}: {why}"))
}

/// Asks, and again after a while as long as the other side only says that it has too much to do. Sealing and opening
/// may be done any number of times.
pub(super) async fn patiently<F: Future<Output = Result<(u16, Value), VaultError>>>(
    busy: impl Fn(u16, &Value) -> bool,
    ask: impl Fn() -> F,
) -> Result<(u16, Value), VaultError> {
    for pause in PAUSES {
        let (status, answer) = ask().await?;
        if !busy(status, &answer) {
            return Ok((status, answer));
        }
        metrics::counter!("credsvc_root_key_waits_total").increment(1);
        tokio::time::sleep(pause).await;
    }
    ask().await
}

/// Status and JSON of an answer; null when it is none.
pub(super) async fn sent(
    who: &str,
    request: reqwest::RequestBuilder,
) -> Result<(u16, Value), VaultError> {
    let gone = |error: reqwest::Error| down(who, error.without_url());
    let answer = request.timeout(TIMEOUT).send().await.map_err(gone)?;
    let status = answer.status().as_u16();
    let bytes = Zeroizing::new(answer.bytes().await.map_err(gone)?.to_vec());
    Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()))
}
