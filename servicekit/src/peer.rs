//! The way to another service: its REST API, with a token of our own and, when we act for a person, theirs.

use std::time::Duration;

use http::{Method, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use shared_models::{ProblemBody, RunId, Service, TenantId};
use url::Url;

use crate::{Problem, caller::SUBJECT_TOKEN, codes, token::Minter};

/// Why another service gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It refused, and said why.
    #[error("{} answered {}: {}", .0, .1.code, .1.detail)]
    Problem(Service, Box<ProblemBody>),
    /// It could not be reached, or broke off. The request may or may not have been carried out.
    #[error("{0} is not available: {1}")]
    Unavailable(Service, String),
}

impl PeerError {
    /// The refusal's status, if it was one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Problem(_, body) => Some(body.status),
            Self::Unavailable(..) => None,
        }
    }

    /// The refusal's code, if it was one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Problem(_, body) => Some(&body.code),
            Self::Unavailable(..) => None,
        }
    }

    /// Whether trying again later may help.
    pub fn passing(&self) -> bool {
        self.status().is_none_or(|status| status >= 500 || status == 429)
    }
}

impl From<PeerError> for Problem {
    /// For routes that pass a peer's state on; a refusal that is meant for the client is mapped by the handler.
    fn from(error: PeerError) -> Self {
        if error.passing() {
            tracing::warn!(%error, "peer not available");
            Self::new(&codes::UNAVAILABLE, error.to_string()).retry_after(1)
        } else {
            Self::internal(error)
        }
    }
}

/// One request to another service.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// For whom.
    pub tenant: TenantId,
    /// Why, for the other side's audit.
    pub purpose: &'a str,
    /// For which run.
    pub run: Option<RunId>,
    /// The token of the person we act for, as they sent it to us.
    pub subject: Option<&'a str>,
}

impl<'a> Ask<'a> {
    /// A request in the service's own name.
    pub fn new(tenant: TenantId, purpose: &'a str) -> Self {
        Self { tenant, purpose, run: None, subject: None }
    }

    /// The same, for a run.
    #[must_use]
    pub fn for_run(self, run: RunId) -> Self {
        Self { run: Some(run), ..self }
    }

    /// The same, on behalf of a person.
    #[must_use]
    pub fn on_behalf(self, token: &'a str) -> Self {
        Self { subject: Some(token), ..self }
    }
}

/// A client of one other service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Peer {
    base: Url,
    service: Service,
    minter: Minter,
    http: reqwest::Client,
}

impl Peer {
    /// A client of `service` at `base`.
    pub fn new(base: Url, service: Service, minter: Minter, http: reqwest::Client) -> Self {
        Self { base, service, minter, http }
    }

    /// Asks for something.
    pub async fn get<T: DeserializeOwned>(&self, ask: Ask<'_>, path: &str) -> Result<T, PeerError> {
        self.send::<(), T>(ask, Method::GET, path, None).await
    }

    /// Sends something.
    pub async fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        ask: Ask<'_>,
        path: &str,
        body: &B,
    ) -> Result<T, PeerError> {
        self.send(ask, Method::POST, path, Some(body)).await
    }

    /// Deletes something.
    pub async fn delete(&self, ask: Ask<'_>, path: &str) -> Result<(), PeerError> {
        self.send::<(), ()>(ask, Method::DELETE, path, None).await
    }

    async fn send<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        ask: Ask<'_>,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<T, PeerError> {
        let gone = |error: reqwest::Error| {
            PeerError::Unavailable(self.service, error.without_url().to_string())
        };
        let url = self
            .base
            .join(path)
            .map_err(|error| PeerError::Unavailable(self.service, error.to_string()))?;
        let token = self.minter.service_token(self.service, ask.tenant, ask.purpose, ask.run);
        let mut request =
            self.http.request(method, url).bearer_auth(token).timeout(Duration::from_secs(10));
        if let Some(subject) = ask.subject {
            request = request.header(SUBJECT_TOKEN, subject);
        }
        if let Some(trace) = crate::trace::outgoing() {
            request = request.header("traceparent", trace);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(gone)?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(gone)?;
        self.read(status, &bytes)
    }

    fn read<T: DeserializeOwned>(&self, status: StatusCode, bytes: &[u8]) -> Result<T, PeerError> {
        if !status.is_success() {
            return Err(match serde_json::from_slice(bytes) {
                Ok(problem) => PeerError::Problem(self.service, Box::new(problem)),
                Err(_) => PeerError::Unavailable(self.service, format!("it answered {status}")),
            });
        }
        let text: &[u8] = if bytes.is_empty() { b"null" } else { bytes };
        serde_json::from_slice(text).map_err(|error| {
            PeerError::Unavailable(self.service, format!("its answer cannot be read: {error}"))
        })
    }
}

/// The HTTP client for calls between services: no proxies, no redirects, connections kept.
#[allow(
    clippy::disallowed_methods,
    reason = "calls between services do not go through the egress client"
)]
pub fn internal_http() -> reqwest::Result<reqwest::Client> {
    crate::telemetry::install_crypto();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(2))
        .tcp_nodelay(true)
        // Servers of ours close after 30 s; a request must not meet that moment.
        .pool_idle_timeout(Duration::from_secs(20))
        .build()
}
