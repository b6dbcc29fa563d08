//! Errors as answers: RFC 9457 problems. The cause of an internal error goes to the log, never to the client.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
pub use shared_models::FieldError;
use shared_models::ProblemBody;

use crate::codes::{self, Code};

/// An answer that says what went wrong.
#[derive(Debug)]
pub struct Problem {
    code: &'static Code,
    detail: String,
    errors: Vec<FieldError>,
    retry_after: Option<u64>,
}

/// What the trace layer logs of an internal error; rides in the response's extensions.
#[derive(Clone, Debug)]
pub struct Cause(pub String);

impl Problem {
    /// A problem of a known kind, and what went wrong this time.
    pub fn new(code: &'static Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), retry_after: None }
    }

    /// Nothing the client could act on; the chain of causes is logged once, the body says nothing.
    pub fn internal(error: impl Into<anyhow::Error>) -> Self {
        Self::new(&codes::INTERNAL, format!("{:#}", error.into()))
    }

    /// A body or query whose fields were refused.
    pub fn validation(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] if only.pointer.is_empty() => only.message.clone(),
            [only] => format!("{}: {}", only.pointer, only.message),
            several => format!("{} fields were refused", several.len()),
        };
        Self::new(&codes::VALIDATION, detail).with_errors(errors)
    }

    /// There is no such thing, or it is not the caller's to see.
    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(&codes::NOT_FOUND, format!("there is no {what}"))
    }

    /// Lists the refused fields.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// Says when to come back, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The code it answers with.
    pub fn code(&self) -> &'static Code {
        self.code
    }

    /// What went wrong this time; for internal errors the cause.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    fn body(&self, detail: String) -> ProblemBody {
        ProblemBody {
            kind: format!("/errors#{}", self.code.name),
            code: self.code.name.into(),
            title: self.code.title.into(),
            status: self.code.status,
            detail,
            trace_id: crate::trace::current().map(|trace| trace.trace_id()),
            errors: self.errors.clone(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let internal = *self.code == codes::INTERNAL;
        let detail = if internal { String::new() } else { self.detail.clone() };
        let status =
            StatusCode::from_u16(self.code.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.body(detail))).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.code.status == 401 {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if internal {
            response.extensions_mut().insert(Cause(self.detail));
        }
        response
    }
}

impl From<sqlx::Error> for Problem {
    /// A database that cannot be reached is a passing state, not a bug; and values it cannot hold came from the client.
    fn from(error: sqlx::Error) -> Self {
        if dbutil::is_down(&error) {
            tracing::warn!(%error, "database not available");
            return Self::new(&codes::UNAVAILABLE, "the database is not available").retry_after(1);
        }
        if dbutil::is_unstorable(&error) {
            let message = "a text with NUL, or a time out of range";
            return Self::validation(vec![FieldError::new("", message)]);
        }
        Self::internal(error)
    }
}

impl From<dbutil::page::BadCursor> for Problem {
    fn from(error: dbutil::page::BadCursor) -> Self {
        Self::validation(vec![FieldError::new("cursor", error.to_string())])
    }
}
