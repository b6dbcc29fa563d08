//! From where a request came, for the audit.

use std::{convert::Infallible, net::SocketAddr};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::request::Parts,
};

/// The other end of the connection, and the request's id, which finds the person's own address in the gateway's log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    /// The address that connected to us.
    pub(crate) remote: Option<String>,
    /// `X-Request-Id`.
    pub(crate) request_id: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Origin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let remote = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let request_id = parts.headers.get("x-request-id").and_then(|value| value.to_str().ok());
        Ok(Self {
            remote: remote.map(|peer| peer.0.ip().to_string()),
            request_id: request_id.map(str::to_owned),
        })
    }
}
