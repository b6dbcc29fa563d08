//! The way out for everything that users configure: tools, models, webhooks.
//!
//! Invariants: a connection is only made to an address that the policy allows *after* the name was resolved, on every
//! hop; proxies and cookies play no part; a secret is put on the wire by [`Injection`] and nowhere else, goes to the
//! host it is meant for only, and is cut out of whatever comes back.

mod address;
mod exchange;
mod hosts;
mod injection;
mod policy;
mod redact;
mod resolver;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use reqwest::{
    Client,
    dns::{Name, Resolve},
    redirect,
};
use url::Url;

pub use hosts::HostPattern;
pub use injection::Injection;
pub use policy::{BadRule, EgressPolicy};
pub use redact::{REDACTED, Redactor};

/// A connection that takes longer is not made. Nothing was sent then, so this is worth knowing apart.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest body that is sent.
pub const MAX_REQUEST_BYTES: usize = 1024 * 1024;
/// How much of an answer is read unless a call says otherwise.
pub const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

/// The guarded HTTP client: cheap to clone, one per process.
#[derive(Clone)]
pub struct Egress {
    policy: Arc<EgressPolicy>,
    general: Client,
    /// A resolver does not learn the port, so each port that a rule singles out has a client of its own.
    by_port: Arc<BTreeMap<u16, Client>>,
    resolver: Arc<dyn Resolve>,
}

/// One request to the outside.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// Where to; http or https, without credentials.
    pub url: Url,
    /// Sent as they are; none of them a secret.
    pub headers: HeaderMap,
    /// The body, empty for none.
    pub body: Bytes,
    /// The secret and where it goes.
    pub injection: Option<Injection>,
    /// Whom this call may reach, redirects included.
    pub allowed_hosts: Vec<HostPattern>,
    /// For everything together: name, connection, redirects and the answer to its end.
    pub timeout: Duration,
    /// How much of the answer is read.
    pub max_response_bytes: usize,
}

/// What came back, without the secret.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status of the last hop.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, as far as it was read.
    pub body: Vec<u8>,
    /// Whether there was more of it.
    pub truncated: bool,
}

/// Why there is no answer, sorted by what may have happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// Against the policy or impossible to send: nothing was sent.
    #[error("{0}")]
    Denied(String),
    /// Nobody was reached: nothing was sent.
    #[error("{0}")]
    Unreachable(String),
    /// The server sent us elsewhere without doing anything, and we did not go.
    #[error("{0}")]
    Misdirected(String),
    /// It was sent, and what became of it is not known.
    #[error("{0}")]
    Unknown(String),
}

impl Egress {
    /// A client behind the policy, over the system's resolver.
    pub fn new(policy: EgressPolicy) -> Result<Self, reqwest::Error> {
        Self::with_resolver(policy, Arc::new(resolver::System))
    }

    /// The same over another resolver, whose every answer is checked.
    pub fn with_resolver(
        policy: EgressPolicy,
        inner: Arc<dyn Resolve>,
    ) -> Result<Self, reqwest::Error> {
        // Whoever installed a provider first wins; both are the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let policy = Arc::new(policy);
        let client =
            |port| client(resolver::Guarded { inner: inner.clone(), policy: policy.clone(), port });
        let by_port = policy.ports().into_iter().map(|port| Ok((port, client(port)?)));
        let by_port = by_port.collect::<Result<_, reqwest::Error>>()?;
        Ok(Self { general: client(0)?, by_port: Arc::new(by_port), policy, resolver: inner })
    }

    /// The same, and also the host and port of a URL that the operator configured, be it private.
    pub fn also_allowing(&self, url: &Url) -> Result<Self, reqwest::Error> {
        Self::with_resolver(self.policy.also_allowing(url), self.resolver.clone())
    }

    /// The bare client for URLs on this host and port: for streams, which [`Egress::send`] does not do. Follows no
    /// redirects.
    pub fn client_for(&self, url: &Url) -> Result<Client, EgressError> {
        self.policy.check_url(url).map_err(EgressError::Denied)?;
        Ok(self.client(url).clone())
    }

    /// What can be refused before anything happens: the URL, its host and the size. [`Egress::send`] checks again.
    pub fn check(&self, call: &Call) -> Result<(), EgressError> {
        if call.body.len() > MAX_REQUEST_BYTES {
            let detail = format!("the request body is larger than {MAX_REQUEST_BYTES} bytes");
            return Err(EgressError::Denied(detail));
        }
        self.check_url(&call.url, &call.allowed_hosts)
    }

    /// Sends the call and follows its redirects.
    pub async fn send(&self, call: Call) -> Result<Answer, EgressError> {
        exchange::send(self, call).await
    }

    /// An address of a host that the policy allows on this port: for protocols other than HTTP, which connect to it
    /// and to nothing else.
    pub async fn resolve(&self, host: &str, port: u16) -> Result<SocketAddr, EgressError> {
        let denied = |text: String| EgressError::Denied(text);
        let url = Url::parse(&format!("http://{host}:{port}/"))
            .map_err(|error| denied(format!("`{host}` is not a host: {error}")))?;
        self.policy.check_url(&url).map_err(denied)?;
        let name: Name = match url.host() {
            Some(url::Host::Ipv4(ip)) => return Ok((ip, port).into()),
            Some(url::Host::Ipv6(ip)) => return Ok((ip, port).into()),
            Some(url::Host::Domain(name)) => {
                name.parse().map_err(|_| denied(format!("`{host}` is not a host")))?
            }
            None => return Err(denied(format!("`{host}` is not a host"))),
        };
        let guarded =
            resolver::Guarded { inner: self.resolver.clone(), policy: self.policy.clone(), port };
        let found = tokio::time::timeout(CONNECT_TIMEOUT, guarded.resolve(name)).await;
        let addresses = found
            .map_err(|_| EgressError::Unreachable(format!("{host} was not found in time")))?
            .map_err(|error| match error.downcast_ref::<resolver::Forbidden>() {
                Some(forbidden) => EgressError::Denied(forbidden.to_string()),
                None => EgressError::Unreachable(format!("{host}: {error}")),
            })?;
        let first = addresses.into_iter().next();
        let first =
            first.ok_or_else(|| EgressError::Unreachable(format!("{host} has no address")))?;
        Ok(SocketAddr::new(first.ip(), port))
    }

    fn check_url(&self, url: &Url, hosts: &[HostPattern]) -> Result<(), EgressError> {
        self.policy.check_url(url).map_err(EgressError::Denied)?;
        if hosts.iter().any(|host| host.matches_url(url)) {
            return Ok(());
        }
        let host = url.host_str().unwrap_or_default();
        Err(EgressError::Denied(format!("{host} is not among the allowed hosts")))
    }

    fn client(&self, url: &Url) -> &Client {
        let port = url.port_or_known_default().unwrap_or_default();
        self.by_port.get(&port).unwrap_or(&self.general)
    }
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Egress").field("policy", &self.policy).finish_non_exhaustive()
    }
}

fn client(resolver: resolver::Guarded) -> Result<Client, reqwest::Error> {
    Client::builder()
        .dns_resolver(resolver)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(Duration::from_secs(30))
        .user_agent("switchyard")
        .build()
}

#[cfg(test)]
#[path = "egress_tests.rs"]
mod tests;
