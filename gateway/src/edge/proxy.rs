//! Passing requests on: bodies stream both ways, and a client that hangs up hangs up on the service as well.

use std::{error::Error as StdError, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, Uri, Version, header, uri::PathAndQuery},
    response::{IntoResponse as _, Response},
};
use http_body_util::{LengthLimitError, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use servicekit::{Problem, codes as shared, trace};
use shared_models::Service;

use super::clean::remove_hop_by_hop;
use crate::{
    codes,
    config::{Limits, Upstreams},
};

#[derive(Clone)]
pub(super) struct Proxy {
    client: Client<HttpConnector, Body>,
    upstreams: Upstreams,
    body_limit: usize,
    timeout: Duration,
}

impl Proxy {
    pub(super) fn new(upstreams: Upstreams, limits: &Limits) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(2)));
        connector.set_keepalive(Some(Duration::from_secs(30)));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .build(connector);
        Self { client, upstreams, body_limit: limits.body, timeout: limits.upstream_timeout }
    }

    /// The service's answer, or a problem when it has none.
    pub(super) async fn forward(&self, service: Service, request: Request) -> Response {
        let request = match self.prepare(service, request) {
            Ok(request) => request,
            Err(problem) => return problem.into_response(),
        };
        // Only the beginning of the answer is waited for; a stream may last.
        match tokio::time::timeout(self.timeout, self.client.request(request)).await {
            Ok(Ok(response)) => {
                let (mut parts, body) = response.into_parts();
                remove_hop_by_hop(&mut parts.headers);
                parts.version = Version::default();
                parts.extensions.clear();
                Response::from_parts(parts, Body::new(body))
            }
            Ok(Err(error)) => self.refusal(service, &error).into_response(),
            Err(_) => {
                tracing::warn!(upstream = %service, "no answer in time");
                let detail = format!("{service} did not begin to answer within {:?}", self.timeout);
                Problem::new(&codes::UPSTREAM_TIMEOUT, detail).into_response()
            }
        }
    }

    fn prepare(&self, service: Service, request: Request) -> Result<Request, Problem> {
        let (mut parts, body) = request.into_parts();
        let length = parts.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > self.body_limit as u64) {
            return Err(self.too_large());
        }
        parts.uri = self.target(service, parts.uri.path_and_query())?;
        parts.version = Version::HTTP_11;
        parts.extensions.clear();
        remove_hop_by_hop(&mut parts.headers);
        parts.headers.remove(header::HOST);
        parts.headers.remove("traceparent");
        if let Some(Ok(value)) = trace::outgoing().map(HeaderValue::try_from) {
            parts.headers.insert("traceparent", value);
        }
        Ok(Request::from_parts(parts, Body::new(Limited::new(body, self.body_limit))))
    }

    fn target(&self, service: Service, path: Option<&PathAndQuery>) -> Result<Uri, Problem> {
        let base = self.upstreams.base(service);
        let authority = base.and_then(|base| {
            let host = base.host_str()?;
            Some(format!("{host}:{}", base.port_or_known_default()?))
        });
        Uri::builder()
            .scheme("http")
            .authority(authority.unwrap_or_default())
            .path_and_query(path.cloned().unwrap_or_else(|| PathAndQuery::from_static("/")))
            .build()
            .map_err(Problem::internal)
    }

    fn refusal(&self, service: Service, error: &hyper_util::client::legacy::Error) -> Problem {
        if causes(error).any(<dyn StdError>::is::<LengthLimitError>) {
            return self.too_large();
        }
        let cause = causes(error).last().map(ToString::to_string).unwrap_or_default();
        tracing::warn!(upstream = %service, cause, "service not available");
        let detail = if error.is_connect() {
            format!("{service} is not available")
        } else {
            format!("{service} broke off; the request may or may not have been carried out")
        };
        Problem::new(&shared::UNAVAILABLE, detail).retry_after(1)
    }

    fn too_large(&self) -> Problem {
        let detail = format!("a body has at most {} bytes", self.body_limit);
        Problem::new(&shared::PAYLOAD_TOO_LARGE, detail)
    }
}

/// An error and what caused it, outermost first.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let this = next?;
        next = this.source();
        Some(this)
    })
}
