//! What a provider says about a failure.

use std::time::Duration;

use serde_json::Value;

use crate::model::{ModelError, ModelErrorKind};

#[derive(Default)]
pub(super) struct Said {
    message: String,
    /// Its names for what is wrong: `type` and `code`, Google's `status` and the reasons among its details.
    words: Vec<String>,
    /// The HTTP status it would have answered with.
    pub(super) status: Option<u16>,
    pub(super) retry_after: Option<Duration>,
}

impl Said {
    pub(super) fn from_text(text: &str) -> Self {
        Self { message: text.to_owned(), ..Self::default() }
    }

    /// `{message, type, code}`, `{code, message, status, details}`, a plain string, or whatever else a server came up
    /// with.
    pub(super) fn from_json(error: &Value) -> Self {
        let mut said = Self { message: message(error), ..Self::default() };
        let words = ["type", "code", "status"].into_iter().filter_map(|name| error.get(name));
        for word in words {
            let number = word.as_u64().or_else(|| word.as_str()?.parse().ok());
            match (number, word.as_str()) {
                (Some(number), _) => said.status = u16::try_from(number).ok(),
                (None, Some(word)) => said.words.push(word.to_owned()),
                (None, None) => {}
            }
        }
        said.status = said.status.filter(|status| (400..600).contains(status));
        for detail in error.get("details").and_then(Value::as_array).into_iter().flatten() {
            if let Some(reason) = detail.get("reason").and_then(Value::as_str) {
                said.words.push(reason.to_owned());
            }
            if let Some(delay) = detail.get("retryDelay").and_then(Value::as_str) {
                said.retry_after = duration(delay);
            }
        }
        said
    }

    /// Names win over the status where one status stands for several things.
    pub(super) fn sorted(self, status: Option<u16>) -> ModelError {
        let named = self.kind();
        let refused = status.is_none_or(|status| (400..500).contains(&status));
        let kind = match named {
            // Only a request that was refused is too long: a busy server may say anything.
            Some(ModelErrorKind::ContextLength) if !refused => None,
            // The provider's names for these say more than its status.
            Some(
                ModelErrorKind::ContextLength
                | ModelErrorKind::Quota
                | ModelErrorKind::Auth
                | ModelErrorKind::Refused,
            ) if refused => named,
            named if status.is_none() => named,
            _ => None,
        };
        let message = if self.message.is_empty() { "no reason given".into() } else { self.message };
        match (kind, status) {
            (Some(kind), status) => ModelError::new(kind, message).with_status(status),
            (None, Some(status)) => ModelError::from_status(status, message, None),
            // In the middle of an answer it is mostly the server's fault.
            (None, None) => ModelError::new(ModelErrorKind::Overloaded, message),
        }
    }

    fn kind(&self) -> Option<ModelErrorKind> {
        if self.is_too_long() {
            return Some(ModelErrorKind::ContextLength);
        }
        if self.message.to_ascii_lowercase().contains("credit balance is too low") {
            return Some(ModelErrorKind::Quota);
        }
        // The most telling name comes last: a code says more than a type, and a reason more than a code.
        self.words.iter().rev().find_map(|word| kind_of(word))
    }

    fn is_too_long(&self) -> bool {
        let names = ["context_length_exceeded", "request_too_large"];
        if self.words.iter().any(|word| names.contains(&word.as_str())) {
            return true;
        }
        // Compatible servers copy OpenAI's sentence more often than its code; the others have nothing but a sentence.
        let message = self.message.to_ascii_lowercase();
        let sentences = [
            "maximum context length",
            "context length exceeded",
            "exceeds the available context size",
            "prompt is too long",
            "exceed context limit",
            "exceeds the maximum number of tokens allowed",
        ];
        sentences.iter().any(|sentence| message.contains(sentence))
    }
}

fn kind_of(word: &str) -> Option<ModelErrorKind> {
    Some(match word {
        "insufficient_quota"
        | "billing_hard_limit_reached"
        | "billing_not_active"
        | "billing_error" => ModelErrorKind::Quota,
        "rate_limit_exceeded" | "rate_limit_error" | "RESOURCE_EXHAUSTED" => {
            ModelErrorKind::RateLimited
        }
        "overloaded_error" | "api_error" | "server_error" | "UNAVAILABLE" | "INTERNAL" => {
            ModelErrorKind::Overloaded
        }
        "timeout_error" | "DEADLINE_EXCEEDED" => ModelErrorKind::Timeout,
        "invalid_api_key" | "authentication_error" | "UNAUTHENTICATED" | "API_KEY_INVALID" => {
            ModelErrorKind::Auth
        }
        "permission_error" | "PERMISSION_DENIED" => ModelErrorKind::Permission,
        "content_filter" | "content_policy_violation" => ModelErrorKind::Refused,
        "invalid_request_error"
        | "not_found_error"
        | "INVALID_ARGUMENT"
        | "NOT_FOUND"
        | "FAILED_PRECONDITION" => ModelErrorKind::Invalid,
        _ => return None,
    })
}

fn message(error: &Value) -> String {
    match (error.get("message").and_then(Value::as_str), error) {
        (Some(message), _) if !message.is_empty() => message.to_owned(),
        (_, Value::String(text)) => text.clone(),
        (_, other) => other.to_string(),
    }
}

/// `google.protobuf.Duration` as JSON: `34.5s`.
fn duration(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.strip_suffix('s')?.parse().ok()?).ok()
}
