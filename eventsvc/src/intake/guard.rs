//! What is refused before a body is read: who may not deliver here, and what comes too fast.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::HeaderMap;
use ipnet::IpNet;
use servicekit::{Problem, codes};
use shared_models::TenantId;
use uuid::Uuid;

use super::bucket::{Buckets, Pace, network_of};
use crate::{
    error::IP_NOT_ALLOWED,
    hooks::Hook,
    options::{Rate, network},
};

/// Sources and tenants remembered before those that are no longer held back are forgotten.
const REMEMBERED: usize = 10_000;

/// Which proxies are believed, and how far each source has used up its rate. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    trusted: Arc<[IpNet]>,
    /// How often one address may come; none is as often as it likes.
    pace: Option<Pace>,
    addresses: Arc<Mutex<Buckets<IpAddr>>>,
    /// When each source and tenant will have used no more than its rate.
    busy_until: Arc<Mutex<HashMap<Uuid, Instant>>>,
}

impl Guard {
    /// One that believes what these proxies say about who is behind them. Whoever is on this machine is one of them.
    pub(crate) fn new(trusted: &[IpNet], pace: Option<Pace>) -> Self {
        let local = ["127.0.0.0/8", "::1/128"].into_iter().filter_map(network);
        let trusted = trusted.iter().copied().chain(local).collect();
        Self { trusted, pace, ..Self::default() }
    }

    /// Refuses whoever comes too often, whatever for. What one of our own proxies sends in nobody's name is not counted, and
    /// no private address is: behind it may be a proxy that nobody named, and so everybody.
    pub(crate) fn pace(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Result<(), Problem> {
        let (Some(pace), Some(peer)) = (self.pace, peer) else { return Ok(()) };
        let client = client(peer, headers, &self.trusted);
        if is_private(client) || self.trusted.iter().any(|net| net.contains(&client)) {
            return Ok(());
        }
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.take(network_of(client), pace, Instant::now()).map_err(|wait| {
            let detail =
                format!("more than {} deliveries a second from one address", pace.per_second);
            Problem::new(&codes::RATE_LIMITED, detail).retry_after(wait.as_secs() + 1)
        })
    }

    /// Refuses a delivery by where it comes from and by how many came before it.
    pub(crate) fn check(
        &self,
        hook: &Hook,
        peer: Option<IpAddr>,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        let allowed = &hook.options.allow_ips;
        if !allowed.is_empty() {
            let client = peer.map(|peer| client(peer, headers, &self.trusted));
            let networks = || allowed.iter().filter_map(|text| network(text));
            if !client.is_some_and(|client| networks().any(|net| net.contains(&client))) {
                let detail = "deliveries from this address are not taken here";
                return Err(Problem::new(&IP_NOT_ALLOWED, detail));
            }
        }
        match hook.options.rate {
            Some(rate) => {
                self.take(hook.source_id.uuid(), 1, rate, Instant::now()).map_err(|wait| {
                    let detail = format!("{} deliveries in {} s", rate.limit, rate.per_seconds);
                    let problem = Problem::new(&codes::RATE_LIMITED, format!("more than {detail}"));
                    problem.retry_after(wait.as_secs() + 1)
                })
            }
            None => Ok(()),
        }
    }

    /// Counts deliveries that a tenant fires again; the error says how long to wait.
    pub(crate) fn replay(
        &self,
        tenant: TenantId,
        count: usize,
        per_minute: u32,
    ) -> Result<(), Duration> {
        let rate = Rate { limit: per_minute, per_seconds: 60 };
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.take(tenant.uuid(), count, rate, Instant::now())
    }

    /// Counts some against a rate; the error says how long to wait. A burst of the whole limit is fine.
    fn take(&self, who: Uuid, count: u32, rate: Rate, now: Instant) -> Result<(), Duration> {
        let span = Duration::from_secs(rate.per_seconds.into());
        let cost = span / rate.limit.max(1) * count;
        let mut busy_until = self.busy_until.lock().unwrap_or_else(PoisonError::into_inner);
        if busy_until.len() >= REMEMBERED {
            busy_until.retain(|_, until| *until > now);
        }
        let until = busy_until.get(&who).copied().unwrap_or(now).max(now);
        let ahead = until - now + cost;
        if let Some(wait) = ahead.checked_sub(span).filter(|wait| !wait.is_zero()) {
            return Err(wait);
        }
        busy_until.insert(who, until + cost);
        Ok(())
    }
}

/// Whether nobody out there has this address.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

/// Who sent it: the last address on the way that is none of our own proxies.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let ours = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut client = peer.to_canonical();
    let lines: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
    let hops = lines.iter().rev().flat_map(|line| {
        line.to_str().unwrap_or_default().rsplit(',').map(str::trim).collect::<Vec<_>>()
    });
    for hop in hops {
        if !ours(&client) {
            break;
        }
        // What cannot be read was not written by a proxy of ours, and nothing before it can be believed.
        let Ok(address) = hop.parse::<IpAddr>() else { break };
        client = address.to_canonical();
    }
    client
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use shared_models::SourceId;

    use super::*;

    #[test]
    fn the_client_is_the_last_address_that_is_no_proxy_of_ours() {
        let trusted: Vec<IpNet> = ["10.0.0.0/8"].into_iter().filter_map(network).collect();
        for (peer, forwarded, expected) in [
            ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
            ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "192.0.2.66, 198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "198.51.100.1, 10.0.0.7", "198.51.100.1"),
            ("10.0.0.1", "198.51.100.1, nonsense", "10.0.0.1"),
            ("::ffff:10.0.0.1", "2001:db8::1", "2001:db8::1"),
            ("10.0.0.1", "", "10.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", HeaderValue::from_static(forwarded));
            let found = client(peer.parse().unwrap(), &headers, &trusted);
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {forwarded}");
        }
    }

    #[test]
    fn a_burst_of_the_limit_passes_and_the_next_waits_for_its_share() {
        let (guard, source, now) = (Guard::default(), SourceId::mint(), Instant::now());
        let rate = Rate { limit: 3, per_seconds: 3 };
        let take = |source: SourceId, at| {
            guard.take(source.uuid(), 1, rate, now + Duration::from_millis(at))
        };

        for _ in 0..3 {
            assert_eq!(take(source, 0), Ok(()));
        }
        assert_eq!(take(source, 0), Err(Duration::from_secs(1)));
        assert_eq!(take(source, 400), Err(Duration::from_millis(600)));
        assert_eq!(take(SourceId::mint(), 0), Ok(()), "another source is counted by itself");
        assert_eq!(take(source, 1000), Ok(()));
        assert_eq!(take(source, 1000), Err(Duration::from_secs(1)));
    }

    #[test]
    fn a_tenant_replays_so_many_in_a_minute_and_others_do_not_wait_for_it() {
        let (guard, tenant) = (Guard::default(), TenantId::mint());

        for _ in 0..6 {
            assert_eq!(guard.replay(tenant, 100, 600), Ok(()));
        }
        let wait = guard.replay(tenant, 100, 600).unwrap_err();
        assert!(wait <= Duration::from_secs(10) && wait > Duration::from_secs(5), "{wait:?}");
        assert_eq!(guard.replay(TenantId::mint(), 100, 600), Ok(()));
    }
}
