//! What went wrong, sorted by what can be done about it.
//!
//! The shapes are those of OpenAI's "Error codes", Anthropic's "Errors" and Google's `google.rpc.Status` (AIP-193), and
//! whatever compatible servers make of the first.

mod said;

use std::time::Duration;

use chrono::DateTime;
use reqwest::header::{DATE, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use self::said::Said;
use crate::model::{ModelError, ModelErrorKind};

const LONGEST_MESSAGE: usize = 500;

/// An answer with an unhappy status.
pub(super) fn explain(status: StatusCode, headers: &HeaderMap, body: &str) -> ModelError {
    if status.is_redirection() {
        let place = headers.get(LOCATION).and_then(|to| Url::parse(to.to_str().ok()?).ok());
        let host = place.as_ref().and_then(Url::host_str).unwrap_or("another place");
        let message = format!("the server sent us to {host}, where we do not go");
        return ModelError::new(ModelErrorKind::Invalid, message).with_status(status.as_u16());
    }
    let said = match serde_json::from_str::<Value>(body) {
        Ok(body) => Said::from_json(inner(&body)),
        Err(_) => Said::from_text(body.trim()),
    };
    let asked = retry_after(headers).or(said.retry_after);
    said.sorted(Some(status.as_u16())).with_retry_after(asked)
}

/// An error object that came with a happy status, whole or in the middle of a stream.
pub(super) fn in_band(error: &Value) -> ModelError {
    let said = Said::from_json(error);
    let (status, asked) = (said.status, said.retry_after);
    said.sorted(status).with_retry_after(asked)
}

/// The object in which a body tells what is wrong.
fn inner(body: &Value) -> &Value {
    // Google answers with a list where it would have streamed one.
    let body = body.as_array().and_then(|all| all.first()).unwrap_or(body);
    body.get("error").unwrap_or(body)
}

/// The request did not get through.
pub(super) fn in_transport(error: reqwest::Error) -> ModelError {
    let kind = match &error {
        // Built wrongly or redirected in circles: it will be wrong again.
        error if error.is_builder() || error.is_redirect() => ModelErrorKind::Invalid,
        error if error.is_timeout() => ModelErrorKind::Timeout,
        _ => ModelErrorKind::Connection,
    };
    ModelError::new(kind, chain(error))
}

/// The answer broke off.
pub(super) fn in_answer(error: reqwest::Error) -> ModelError {
    ModelError::new(ModelErrorKind::Cut, chain(error))
}

/// A piece of the answer that is not what it should be.
pub(super) fn bad_chunk(error: serde_json::Error) -> ModelError {
    malformed(format!("bad chunk: {error}"))
}

pub(super) fn malformed(message: impl Into<String>) -> ModelError {
    ModelError::new(ModelErrorKind::Malformed, message)
}

/// The server ended the stream before the model ended its reply.
pub(super) fn in_mid_sentence() -> ModelError {
    ModelError::new(ModelErrorKind::Cut, "the stream ended in mid-sentence")
}

/// A request that cannot be written down.
pub(super) fn unwritable(error: serde_json::Error) -> ModelError {
    ModelError::new(ModelErrorKind::Invalid, format!("the request cannot be written: {error}"))
}

/// The same error, short, and without the key should the server have echoed it.
pub(super) fn fit_to_show(mut error: ModelError, key: Option<&SecretString>) -> ModelError {
    let key = key.map(ExposeSecret::expose_secret).filter(|key| !key.is_empty());
    if let Some(key) = key
        && error.message.contains(key)
    {
        error.message = error.message.replace(key, "[key]");
    }
    if let Some((end, _)) = error.message.char_indices().nth(LONGEST_MESSAGE) {
        error.message.truncate(end);
        error.message.push('…');
    }
    error
}

/// Milliseconds in OpenAI's own header; else seconds, or a date. The date is compared with the server's own, as clocks
/// differ.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |value: &reqwest::header::HeaderValue| value.to_str().ok().map(str::to_owned);
    let precise = headers.get("retry-after-ms").and_then(text);
    if let Some(millis) = precise.and_then(|value| value.trim().parse::<f64>().ok()) {
        return Duration::try_from_secs_f64(millis / 1000.0).ok();
    }
    let after = headers.get(RETRY_AFTER).and_then(text)?;
    if let Ok(seconds) = after.trim().parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let until = DateTime::parse_from_rfc2822(after.trim()).ok()?;
    let now = DateTime::parse_from_rfc2822(&headers.get(DATE).and_then(text)?).ok()?;
    Some((until - now).to_std().unwrap_or_default())
}

/// The whole chain, because the outermost says only that something failed; without the URL, which may hold a secret.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
#[path = "errors_tests.rs"]
mod tests;
