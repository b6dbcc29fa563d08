//! The secrets deliveries are verified with, read from the vault and kept for as long as their lease, a minute at most. A
//! lease ends at once when its credential is changed, taken back or deleted; while that would not be heard, none is kept.
//!
//! Invariant: without a secret nothing is accepted and nothing is dropped: the answer is 503 and the provider delivers
//! again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use moka::future::Cache;
use pubsub::{Asked, Ended};
use secrecy::SecretString;
use servicekit::PeerError;
use shared_models::{CredentialId, TriggerId};

use crate::{
    clients::credsvc::{Credsvc, Resolved},
    error::Error,
    hooks::Hook,
    options::Scheme,
    verify::{Previous, Secret},
};

/// The longest a secret is kept.
const LIFE: Duration = Duration::from_secs(60);
/// A secret this young is not asked for again because a signature did not match.
const FRESH: Duration = Duration::from_secs(5);

/// How often a secret is fetched for one delivery, while leases of it keep ending.
const ATTEMPTS: u32 = 3;

type Key = (CredentialId, TriggerId);

#[derive(Debug)]
struct Kept {
    secret: Secret,
    read: Instant,
    good_for: Duration,
    asked: Asked,
}

/// The secrets in use. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Secrets {
    credsvc: Credsvc,
    ended: Ended,
    cache: Cache<Key, Arc<Kept>>,
}

impl Secrets {
    /// An empty cache.
    pub(crate) fn new(credsvc: Credsvc, ended: Ended) -> Self {
        let cache = Cache::builder().max_capacity(10_000).time_to_live(LIFE).build();
        Self { credsvc, ended, cache }
    }

    /// The secret of a hook.
    pub(crate) async fn of(&self, hook: &Hook) -> Result<Secret, Error> {
        let key = key(hook)?;
        let unavailable = |error: Arc<PeerError>| {
            tracing::warn!(%error, source.id = %hook.source_id, "a signing secret cannot be read");
            Error::CredentialUnavailable
        };
        // A lease may end while it is being fetched.
        for _ in 0..ATTEMPTS {
            if !self.ended.is_heard() {
                break;
            }
            let kept = self.cache.try_get_with(key, self.read(hook, key)).await;
            let kept = kept.map_err(unavailable)?;
            if kept.read.elapsed() < kept.good_for && self.ended.holds(key.0, &kept.asked) {
                return Ok(kept.secret.clone());
            }
            self.cache.invalidate(&key).await;
        }
        let read = self.read(hook, key).await;
        read.map(|read| read.secret.clone()).map_err(|error| unavailable(Arc::new(error)))
    }

    /// The secret read anew, when the one in use is old enough to have been replaced; none when it is not, or when the
    /// vault does not answer.
    pub(crate) async fn fresher(&self, hook: &Hook) -> Option<Secret> {
        let key = key(hook).ok()?;
        let kept = self.cache.get(&key).await?;
        if kept.read.elapsed() < FRESH {
            return None;
        }
        let read = self.read(hook, key).await.ok()?;
        self.cache.insert(key, read.clone()).await;
        Some(read.secret.clone())
    }

    /// Forgets a trigger's secret after an edit.
    pub(crate) async fn forget(&self, credential: CredentialId, trigger: TriggerId) {
        self.cache.invalidate(&(credential, trigger)).await;
    }

    async fn read(&self, hook: &Hook, (credential, trigger): Key) -> Result<Arc<Kept>, PeerError> {
        let owner = hook.triggers.iter().find(|found| found.trigger_id == trigger);
        let owner = owner.unwrap_or(&hook.triggers[0]).owner_id;
        let asked = self.ended.asked();
        let resolved = self.credsvc.resolve(hook.tenant_id, owner, trigger, credential).await?;
        let good_for = Duration::from_secs(resolved.ttl_seconds).min(LIFE);
        let secret = of_fields(hook.options.verify.scheme, &resolved).unwrap_or_default();
        Ok(Arc::new(Kept { secret, read: Instant::now(), good_for, asked }))
    }
}

/// The oldest trigger's grant is used for all of a source.
fn key(hook: &Hook) -> Result<Key, Error> {
    let credential = hook.credential_id.ok_or(Error::CredentialUnavailable)?;
    let trigger = hook.triggers.first().ok_or(Error::CredentialUnavailable)?;
    Ok((credential, trigger.trigger_id))
}

/// The fields a scheme needs, or the name of the first that is missing. `previous_secret` is believed beside the present
/// one, until `previous_until` if that is there.
pub(crate) fn of_fields(scheme: Scheme, resolved: &Resolved) -> Result<Secret, &'static str> {
    let field = |name: &str| resolved.credentials.get(name).cloned();
    let secret = match scheme {
        Scheme::Basic => field("password").ok_or("password")?,
        Scheme::Bearer => field("secret").or_else(|| field("token")).ok_or("secret")?,
        Scheme::StandardWebhooks
        | Scheme::Hmac
        | Scheme::Github
        | Scheme::Slack
        | Scheme::Stripe => field("secret").ok_or("secret")?,
        Scheme::Hubspot | Scheme::HubspotV1 => {
            field("secret").or_else(|| field("client_secret")).ok_or("secret")?
        }
        Scheme::GoogleOidc | Scheme::None => return Ok(Secret::default()),
    };
    let username = match scheme {
        Scheme::Basic => Some(text(field("username").ok_or("username")?)),
        _ => None,
    };
    let until = field("previous_until").map(text);
    let previous = field("previous_secret").and_then(|secret| match until.as_deref() {
        None => Some(Previous { secret, until: None }),
        // A time nobody can read is no reason to believe for ever.
        Some(until) => until.parse().ok().map(|until| Previous { secret, until: Some(until) }),
    });
    Ok(Secret { secret, username, previous })
}

fn text(value: SecretString) -> String {
    secrecy::ExposeSecret::expose_secret(&value).to_owned()
}
