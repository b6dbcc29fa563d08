//! From where a request came, for the audit.

use std::convert::Infallible;

use axum::{extract::FromRequestParts, http::request::Parts};

/// The client's address as the edge saw it, and the request's id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    pub(crate) remote: Option<String>,
    pub(crate) request_id: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Origin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let text = |name: &str| {
            parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        // The edge has replaced whatever the client said here.
        Ok(Self { remote: text("x-forwarded-for"), request_id: text("x-request-id") })
    }
}
