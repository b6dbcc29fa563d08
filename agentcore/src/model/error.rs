//! Why a model call failed, sorted by what can be done about it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::conversation::{Failure, FailureCode};

/// A failed call. The message is fit to be shown: short, and without any key.
///
/// ```
/// use std::time::Duration;
/// use agentcore::{ModelError, ModelErrorKind};
///
/// let error = ModelError::from_status(429, "slow down".into(), Some(Duration::from_secs(3)));
/// assert_eq!(error.kind, ModelErrorKind::RateLimited);
/// assert!(error.is_transient(), "asking again may help");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {message}", kind.sentence(), in_brackets(*status))]
pub struct ModelError {
    pub kind: ModelErrorKind,
    /// The HTTP status, if there was one.
    pub status: Option<u16>,
    pub message: String,
    /// How long the provider asked us to stay away.
    pub retry_after: Option<Duration>,
}

/// What can be done about a failed call depends on this.
///
/// ```
/// use agentcore::{ModelError, ModelErrorKind};
///
/// assert!(!ModelError::new(ModelErrorKind::ContextLength, "too long").is_transient());
/// assert_eq!(ModelErrorKind::ContextLength.name(), "context_length");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelErrorKind {
    /// Too many calls or tokens at the moment.
    RateLimited,
    /// The provider is down or has too much to do.
    Overloaded,
    /// Nothing came for too long.
    Timeout,
    /// Nobody was reached.
    Connection,
    /// The answer broke off in the middle.
    Cut,
    /// The conversation does not fit into the model's window.
    ContextLength,
    /// The request is wrong, or there is no such model.
    Invalid,
    /// The key is missing or wrong.
    Auth,
    /// The key is good, but not for this.
    Permission,
    /// The account is empty. Unlike [`ModelErrorKind::RateLimited`], waiting does not help.
    Quota,
    /// The provider does not want to talk about it.
    Refused,
    /// The answer makes no sense.
    Malformed,
}

impl ModelErrorKind {
    /// For logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::Cut => "cut",
            Self::ContextLength => "context_length",
            Self::Invalid => "invalid",
            Self::Auth => "auth",
            Self::Permission => "permission",
            Self::Quota => "quota",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_transient(self) -> bool {
        match self {
            Self::RateLimited | Self::Overloaded | Self::Timeout | Self::Connection | Self::Cut => {
                true
            }
            Self::ContextLength
            | Self::Invalid
            | Self::Auth
            | Self::Permission
            | Self::Quota
            | Self::Refused
            | Self::Malformed => false,
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::RateLimited => "the model provider asks us to slow down",
            Self::Overloaded => "the model provider is unavailable",
            Self::Timeout => "the model provider did not answer in time",
            Self::Connection => "the model provider cannot be reached",
            Self::Cut => "the model's answer was cut off",
            Self::ContextLength => "the conversation is too long for the model",
            Self::Invalid => "the model provider refused the request",
            Self::Auth => "the model provider refused the key",
            Self::Permission => "the model provider does not allow this key to do that",
            Self::Quota => "the account with the model provider is used up",
            Self::Refused => "the model provider refused the content",
            Self::Malformed => "the model provider's answer makes no sense",
        }
    }
}

impl ModelError {
    pub fn new(kind: ModelErrorKind, message: impl Into<String>) -> Self {
        Self { kind, status: None, message: message.into(), retry_after: None }
    }

    #[must_use]
    pub fn with_status(mut self, status: impl Into<Option<u16>>) -> Self {
        self.status = status.into();
        self
    }

    #[must_use]
    pub fn with_retry_after(mut self, retry_after: impl Into<Option<Duration>>) -> Self {
        self.retry_after = retry_after.into();
        self
    }

    /// Sorts an HTTP answer by its status alone.
    pub fn from_status(status: u16, message: String, retry_after: Option<Duration>) -> Self {
        let kind = match status {
            401 => ModelErrorKind::Auth,
            402 => ModelErrorKind::Quota,
            403 => ModelErrorKind::Permission,
            408 => ModelErrorKind::Timeout,
            429 => ModelErrorKind::RateLimited,
            425 | 500..=599 => ModelErrorKind::Overloaded,
            _ => ModelErrorKind::Invalid,
        };
        Self { kind, status: Some(status), message, retry_after }
    }

    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        self.kind.is_transient()
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        let code = match error.kind {
            ModelErrorKind::RateLimited
            | ModelErrorKind::Overloaded
            | ModelErrorKind::Timeout
            | ModelErrorKind::Connection
            | ModelErrorKind::Cut => FailureCode::ModelUnavailable,
            ModelErrorKind::ContextLength => FailureCode::ContextLength,
            ModelErrorKind::Invalid | ModelErrorKind::Quota | ModelErrorKind::Refused => {
                FailureCode::ModelRejected
            }
            ModelErrorKind::Auth | ModelErrorKind::Permission => FailureCode::ModelAuth,
            ModelErrorKind::Malformed => FailureCode::ModelMalformed,
        };
        Self { code, message: error.to_string() }
    }
}

fn in_brackets(status: Option<u16>) -> String {
    status.map(|status| format!(" ({status})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whether_to_try_again() {
        let transient = |status| ModelError::from_status(status, "m".into(), None).is_transient();

        assert_eq!([408, 429, 500, 503, 529].map(transient), [true; 5]);
        assert_eq!([400, 401, 402, 403, 404, 413, 422, 302].map(transient), [false; 8]);
    }

    #[test]
    fn an_error_reads_as_one_sentence() {
        let error = ModelError::from_status(503, "overloaded".into(), None);
        assert_eq!(error.to_string(), "the model provider is unavailable (503): overloaded");
        let error = ModelError::new(ModelErrorKind::Cut, "the line went dead");
        assert_eq!(error.to_string(), "the model's answer was cut off: the line went dead");
    }
}
