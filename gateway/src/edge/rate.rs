//! How fast: requests per API key, and wrong API keys per client address.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DashMapStateStore,
};
use moka::sync::Cache;
use servicekit::{Problem, codes};
use shared_models::ApiKeyId;

use crate::config::Limits;

/// How often one more wrong key is let through once the burst is used up.
const ONE_MORE_FAILURE: Duration = Duration::from_secs(3);

pub(super) struct Rates {
    limits: Limits,
    by_key: RateLimiter<
        ApiKeyId,
        DashMapStateStore<ApiKeyId>,
        DefaultClock,
        StateInformationMiddleware,
    >,
    failures: DefaultKeyedRateLimiter<IpAddr>,
    /// Addresses whose unknown keys are not looked up for a while.
    blocked: Cache<IpAddr, ()>,
}

/// What a client is told about its rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    burst: u32,
    window: u64,
    remaining: u32,
    wait: u64,
}

impl Rates {
    pub(super) fn new(limits: &Limits) -> Self {
        let quota = Quota::per_second(limits.rate).allow_burst(limits.burst);
        let failures = Quota::with_period(ONE_MORE_FAILURE)
            .unwrap_or_else(|| Quota::per_minute(limits.failed_auth_burst))
            .allow_burst(limits.failed_auth_burst);
        Self {
            limits: limits.clone(),
            by_key: RateLimiter::keyed(quota).with_middleware(),
            failures: RateLimiter::keyed(failures),
            blocked: Cache::builder().max_capacity(100_000).time_to_live(ONE_MORE_FAILURE).build(),
        }
    }

    /// Counts a request of a key.
    pub(super) fn count(&self, key: ApiKeyId) -> Result<Told, (Problem, Told)> {
        let burst = self.limits.burst.get();
        let window = u64::from(burst.div_ceil(self.limits.rate.get()));
        let told = |remaining, wait| Told { burst, window, remaining, wait };
        match self.by_key.check_key(&key) {
            Ok(state) => Ok(told(state.remaining_burst_capacity(), 0)),
            Err(not_until) => {
                let wait = not_until.wait_time_from(DefaultClock::default().now());
                let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
                let detail = format!(
                    "this API key may make {} requests a second, {burst} at once",
                    self.limits.rate
                );
                let problem = Problem::new(&codes::RATE_LIMITED, detail).retry_after(seconds);
                Err((problem, told(0, seconds)))
            }
        }
    }

    /// Refuses an address that has tried too many wrong keys, before its next one is looked up.
    pub(super) fn check_address(&self, address: IpAddr) -> Result<(), Problem> {
        if self.blocked.contains_key(&network(address)) { Err(too_many_failures()) } else { Ok(()) }
    }

    /// Counts a wrong key; the answer to it.
    pub(super) fn failed(&self, address: IpAddr) -> Problem {
        let address = network(address);
        if self.failures.check_key(&address).is_ok() {
            return Problem::new(
                &codes::UNAUTHENTICATED,
                "the API key is unknown, expired or revoked",
            );
        }
        self.blocked.insert(address, ());
        too_many_failures()
    }

    pub(super) fn tidy(&self) {
        self.by_key.retain_recent();
        self.failures.retain_recent();
    }
}

impl Told {
    /// `RateLimit-Policy` and `RateLimit`.
    pub(super) fn write(self, headers: &mut HeaderMap) {
        let policy = format!("\"key\";q={};w={}", self.burst, self.window);
        let state = format!("\"key\";r={};t={}", self.remaining, self.wait);
        for (name, text) in [("ratelimit-policy", policy), ("ratelimit", state)] {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

fn too_many_failures() -> Problem {
    Problem::new(&codes::RATE_LIMITED, "too many wrong API keys from this address")
        .retry_after(ONE_MORE_FAILURE.as_secs())
}

/// Whoever has one IPv6 address has the 64 bits below it too.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            Ipv6Addr::from(network).into()
        }
    }
}
