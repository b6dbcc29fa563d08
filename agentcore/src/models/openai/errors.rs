//! What went wrong, sorted by what can be done about it.

use std::time::Duration;

use chrono::DateTime;
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::model::ModelError;

const LONGEST_MESSAGE: usize = 500;

/// An answer with an unhappy status.
pub(super) fn explain(status: StatusCode, headers: &HeaderMap, body: &str) -> ModelError {
    let said = match serde_json::from_str::<Value>(body) {
        Ok(body) => Said::from_json(body.get("error").unwrap_or(&body)),
        Err(_) => Said { message: body.trim().to_owned(), ..Said::default() },
    };
    said.sorted(Some(status.as_u16()), retry_after(headers))
}

/// An error object that came with a happy status, whole or in the middle of a stream.
pub(super) fn in_band(error: &Value) -> ModelError {
    let said = Said::from_json(error);
    let status = said.code.parse().ok().filter(|status| (400..600).contains(status));
    said.sorted(status, None)
}

/// The request did not get through.
pub(super) fn in_transport(error: reqwest::Error) -> ModelError {
    // Built wrongly or redirected in circles: it will be wrong again.
    if error.is_builder() || error.is_redirect() {
        return ModelError::Rejected { status: 400, message: chain(error) };
    }
    ModelError::Transient { status: None, message: chain(error), retry_after: None }
}

/// The answer broke off.
pub(super) fn in_answer(error: reqwest::Error) -> ModelError {
    ModelError::Cut { message: chain(error) }
}

/// The same error, short, and without the key should the server have echoed it.
pub(super) fn fit_to_show(mut error: ModelError, key: Option<&SecretString>) -> ModelError {
    match &mut error {
        ModelError::Transient { message, .. }
        | ModelError::Cut { message }
        | ModelError::ContextLength { message }
        | ModelError::Rejected { message, .. }
        | ModelError::Auth { message }
        | ModelError::Malformed { message } => {
            let key = key.map(ExposeSecret::expose_secret).filter(|key| !key.is_empty());
            if let Some(key) = key {
                *message = message.replace(key, "[key]");
            }
            if let Some((end, _)) = message.char_indices().nth(LONGEST_MESSAGE) {
                message.truncate(end);
                message.push('…');
            }
        }
    }
    error
}

#[derive(Default)]
struct Said {
    message: String,
    kind: String,
    code: String,
}

impl Said {
    /// `{message, type, code}`, a plain string, or whatever else a server came up with.
    fn from_json(error: &Value) -> Self {
        let field = |name: &str| match error.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        let message = match (field("message"), error) {
            (message, _) if !message.is_empty() => message,
            (_, Value::String(text)) => text.clone(),
            (_, other) => other.to_string(),
        };
        Self { message, kind: field("type"), code: field("code") }
    }

    fn sorted(self, status: Option<u16>, retry_after: Option<Duration>) -> ModelError {
        let is = |word: &str| self.kind == word || self.code == word;
        let too_long = self.is_too_long();
        let out_of_money = is("insufficient_quota");
        let (bad_key, refused) = (is("invalid_api_key"), is("invalid_request_error"));
        let message = if self.message.is_empty() { "no reason given".into() } else { self.message };
        match status {
            // Only a request that was refused is too long: a busy server may say anything.
            None | Some(400 | 413 | 422) if too_long => ModelError::ContextLength { message },
            None | Some(429) if out_of_money => ModelError::Rejected { status: 429, message },
            Some(status) => ModelError::from_status(status, message, retry_after),
            None if bad_key => ModelError::Auth { message },
            None if refused => ModelError::Rejected { status: 400, message },
            // In the middle of an answer it is mostly the server's fault.
            None => ModelError::Transient { status: None, message, retry_after },
        }
    }

    fn is_too_long(&self) -> bool {
        // Compatible servers copy OpenAI's sentence more often than its code.
        let message = self.message.to_ascii_lowercase();
        self.code == "context_length_exceeded"
            || message.contains("maximum context length")
            || message.contains("context length exceeded")
            || message.contains("exceeds the available context size")
    }
}

/// Seconds, or a date. The date is compared with the server's own, as clocks differ.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let after = text(RETRY_AFTER)?.trim();
    if let Ok(seconds) = after.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let until = DateTime::parse_from_rfc2822(after).ok()?;
    let now = DateTime::parse_from_rfc2822(text(DATE)?).ok()?;
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
mod tests {
    use serde_json::json;

    use super::*;

    fn explained(status: u16, body: &str) -> ModelError {
        explain(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body)
    }

    #[test]
    fn a_conversation_that_is_too_long_is_told_by_code_or_by_sentence() {
        let code = json!({ "error": { "message": "no", "code": "context_length_exceeded" } });
        let sentence = json!({ "message": "This model's maximum context length is 4096 tokens." });
        for body in [code, sentence] {
            let error = explained(400, &body.to_string());
            assert!(matches!(error, ModelError::ContextLength { .. }), "{error:?}");
        }
        assert!(explained(503, "maximum context length service is down").is_transient());
    }

    #[test]
    fn an_empty_account_is_not_a_busy_server() {
        let body = json!({ "error": { "message": "pay", "code": "insufficient_quota" } });
        assert!(!explained(429, &body.to_string()).is_transient());
        assert!(explained(429, "{}").is_transient());
    }

    #[test]
    fn errors_come_in_many_shapes() {
        let table = [
            (r#"{"error":{"message":"m1","type":"t"}}"#, "m1"),
            (r#"{"error":"m2"}"#, "m2"),
            (r#"{"message":"m3"}"#, "m3"),
            (r#"{"detail":[1]}"#, r#"{"detail":[1]}"#),
            ("<html>m5</html>\n", "<html>m5</html>"),
            ("", "no reason given"),
        ];
        for (body, expected) in table {
            let error = explained(404, body);
            assert_eq!(error, ModelError::Rejected { status: 404, message: expected.into() });
        }
    }

    #[test]
    fn an_error_within_a_stream_is_sorted_by_what_it_says_of_itself() {
        assert!(in_band(&json!({ "message": "m", "code": 429 })).is_transient());
        assert!(in_band(&json!({ "message": "m", "type": "server_error" })).is_transient());
        assert!(matches!(in_band(&json!({ "code": 401 })), ModelError::Auth { .. }));
        let refused = in_band(&json!({ "message": "m", "type": "invalid_request_error" }));
        assert_eq!(refused, ModelError::Rejected { status: 400, message: "m".into() });
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let after = |pairs: &[(_, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| (name, value.parse().unwrap()));
            retry_after(&pairs.map(|(name, value)| (Clone::clone(name), value)).collect())
        };
        let (noon, later) = ("Wed, 21 Oct 2015 12:00:00 GMT", "Wed, 21 Oct 2015 12:00:30 GMT");
        assert_eq!(after(&[(RETRY_AFTER, "7")]), Some(Duration::from_secs(7)));
        assert_eq!(after(&[(RETRY_AFTER, "0.5")]), Some(Duration::from_millis(500)));
        assert_eq!(after(&[(RETRY_AFTER, later), (DATE, noon)]), Some(Duration::from_secs(30)));
        assert_eq!(after(&[(RETRY_AFTER, noon), (DATE, later)]), Some(Duration::ZERO));
        assert_eq!(after(&[(RETRY_AFTER, later)]), None);
        assert_eq!(after(&[(RETRY_AFTER, "-1")]), None);
    }

    #[test]
    fn an_echoed_key_is_cut_out() {
        let key = SecretString::from("sk-123");
        let error = explained(401, "Incorrect API key provided: sk-123.");
        let message = "Incorrect API key provided: [key].".into();
        assert_eq!(fit_to_show(error, Some(&key)), ModelError::Auth { message });
    }
}
