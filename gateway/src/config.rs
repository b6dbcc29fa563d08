//! What the service is told.

use std::{net::SocketAddr, num::NonZeroU32, time::Duration};

use ipnet::IpNet;
use servicekit::{Env, ServiceConfig};
use shared_models::Service;
use url::Url;

/// Everything the service is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every service is told; `SWITCHYARD_LISTEN` is the public address.
    pub service: ServiceConfig,
    /// `SWITCHYARD_INTERNAL_LISTEN`: where the other services find the key set and memberships (127.0.0.1:8090). Must not
    /// be reachable from outside.
    pub internal_listen: SocketAddr,
    /// Where requests go.
    pub upstreams: Upstreams,
    /// How much of what is let in.
    pub limits: Limits,
    /// `SWITCHYARD_TRUSTED_PROXIES`: networks whose `X-Forwarded-For` is believed, separated by commas (none).
    pub trusted_proxies: Vec<IpNet>,
}

/// The services behind the edge.
#[derive(Clone, Debug)]
pub struct Upstreams {
    /// `SWITCHYARD_CREDSVC_URL`.
    pub credsvc: Url,
    /// `SWITCHYARD_EVENTSVC_URL`.
    pub eventsvc: Url,
    /// `SWITCHYARD_ENGINE_URL`.
    pub engine: Url,
}

/// How much of what is let in.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `SWITCHYARD_BODY_LIMIT`: bytes of a request's body (10 MiB).
    pub body: usize,
    /// `SWITCHYARD_RATE_PER_SECOND`: requests per second and API key, sustained (200).
    pub rate: NonZeroU32,
    /// `SWITCHYARD_RATE_BURST`: requests per API key at once (400).
    pub burst: NonZeroU32,
    /// `SWITCHYARD_FAILED_AUTH_BURST`: wrong API keys per client address before it has to wait; one more every three
    /// seconds (20).
    pub failed_auth_burst: NonZeroU32,
    /// `SWITCHYARD_KEY_CACHE_MILLIS`: how long a looked-up API key is believed, so also how long a revoked one may work
    /// at another replica (at most 5000).
    pub key_cache: Duration,
    /// `SWITCHYARD_UPSTREAM_TIMEOUT_SECONDS`: how long a service may take to begin its answer (120). Streams may last as
    /// long as they like.
    pub upstream_timeout: Duration,
}

impl Upstreams {
    /// Every service behind the edge.
    pub(crate) const ALL: &[Service] = &[Service::Credsvc, Service::Eventsvc, Service::Engine];

    /// Where a service is; the gateway itself is not behind the edge.
    pub(crate) fn base(&self, service: Service) -> Option<&Url> {
        match service {
            Service::Gateway => None,
            Service::Credsvc => Some(&self.credsvc),
            Service::Eventsvc => Some(&self.eventsvc),
            Service::Engine => Some(&self.engine),
        }
    }
}

impl Config {
    /// Reads the settings; problems are left in `env`.
    pub fn read(env: &mut Env) -> Self {
        let mut url = |name: &str, service: Service| -> Url {
            let url: Url = env.parse(name, &format!("http://127.0.0.1:{}", service.default_port()));
            // Requests are passed on as they are: anything more would be left out without a word.
            if url.scheme() != "http" || !url.has_host() || url.path() != "/" {
                env.refuse(name, "must be `http://host:port`");
            }
            url
        };
        let upstreams = Upstreams {
            credsvc: url("SWITCHYARD_CREDSVC_URL", Service::Credsvc),
            eventsvc: url("SWITCHYARD_EVENTSVC_URL", Service::Eventsvc),
            engine: url("SWITCHYARD_ENGINE_URL", Service::Engine),
        };
        let config = Self {
            service: ServiceConfig::read(env, Service::Gateway),
            internal_listen: env.parse("SWITCHYARD_INTERNAL_LISTEN", "127.0.0.1:8090"),
            upstreams,
            limits: Limits::read(env),
            trusted_proxies: networks(env),
        };
        if config.internal_listen == config.service.listen {
            env.refuse("SWITCHYARD_INTERNAL_LISTEN", "must not be the public address");
        }
        config
    }
}

impl Limits {
    fn read(env: &mut Env) -> Self {
        Self {
            body: env.parse("SWITCHYARD_BODY_LIMIT", "10485760"),
            rate: positive(env, "SWITCHYARD_RATE_PER_SECOND", 200),
            burst: positive(env, "SWITCHYARD_RATE_BURST", 400),
            failed_auth_burst: positive(env, "SWITCHYARD_FAILED_AUTH_BURST", 20),
            key_cache: Duration::from_millis(
                env.parse::<u64>("SWITCHYARD_KEY_CACHE_MILLIS", "5000").min(5_000),
            ),
            upstream_timeout: Duration::from_secs(
                env.parse("SWITCHYARD_UPSTREAM_TIMEOUT_SECONDS", "120"),
            ),
        }
    }
}

fn positive(env: &mut Env, name: &str, default: u32) -> NonZeroU32 {
    let found: u32 = env.parse(name, &default.to_string());
    NonZeroU32::new(found).unwrap_or_else(|| {
        env.refuse(name, "must be at least 1");
        NonZeroU32::MIN
    })
}

fn networks(env: &mut Env) -> Vec<IpNet> {
    const NAME: &str = "SWITCHYARD_TRUSTED_PROXIES";
    let text = env.text(NAME, "");
    let mut networks = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match part.parse().or_else(|_| part.parse::<std::net::IpAddr>().map(IpNet::from)) {
            Ok(network) => networks.push(network),
            Err(_) => env.refuse(NAME, format!("`{part}` is neither a network nor an address")),
        }
    }
    networks
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn problems(vars: &[(&str, &str)]) -> Vec<String> {
        let vars: BTreeMap<String, String> =
            vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let mut env = Env::from_map(vars);
        Config::read(&mut env);
        env.finish().unwrap_err().into_iter().map(|problem| problem.name).collect()
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let found = problems(&[
            ("SWITCHYARD_LISTEN", "127.0.0.1:8090"),
            ("SWITCHYARD_RATE_BURST", "0"),
            ("SWITCHYARD_TRUSTED_PROXIES", "10.0.0.0/8, ::1, everybody"),
            ("SWITCHYARD_CREDSVC_URL", "https://credsvc"),
            ("SWITCHYARD_ENGINE_URL", "http://proxy/engine"),
        ]);

        for name in [
            "SWITCHYARD_INTERNAL_LISTEN",
            "SWITCHYARD_RATE_BURST",
            "SWITCHYARD_TRUSTED_PROXIES",
            "SWITCHYARD_CREDSVC_URL",
            "SWITCHYARD_ENGINE_URL",
        ] {
            assert!(found.iter().any(|problem| problem == name), "{name}: {found:?}");
        }
    }
}
