//! The secrets that webhooks are signed with, read from the vault and kept for as long as their lease, a minute at most. A
//! lease ends at once when its credential is changed, taken back or deleted; while that would not be heard, none is kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use moka::future::Cache;
use pubsub::{Asked, Ended};
use secrecy::{ExposeSecret as _, SecretString};
use shared_models::{CredentialId, TenantId, UserId, WebhookEndpointId};

use crate::clients::credsvc::{Credsvc, Secret};
use crate::error::Error;

/// The longest a secret is kept.
const LIFE: Duration = Duration::from_secs(60);

/// How often a secret is fetched for one message, while leases of it keep ending.
const ATTEMPTS: u32 = 3;

/// What a message is signed with.
#[derive(Clone, Debug)]
pub(crate) struct Signing {
    pub(crate) secret: SecretString,
    /// The one before, and until when it signs as well.
    pub(crate) previous: Option<(SecretString, DateTime<Utc>)>,
}

impl Signing {
    fn of(found: &Secret) -> Option<Self> {
        let until = found.field("previous_until").map(|until| until.expose_secret().parse());
        let previous = match (found.field("previous_secret"), until) {
            (Some(secret), Some(Ok(until))) => Some((secret, until)),
            _ => None,
        };
        Some(Self { secret: found.field("secret")?, previous })
    }

    /// The secrets that are valid at a moment, the present one first.
    pub(super) fn valid(&self, now: DateTime<Utc>) -> impl Iterator<Item = &SecretString> {
        let previous = self.previous.iter().filter(move |(_, until)| now < *until);
        std::iter::once(&self.secret).chain(previous.map(|(secret, _)| secret))
    }
}

/// The secrets in use. A rotation makes another credential, so what is kept here is never a wrong one.
#[derive(Debug)]
pub(crate) struct Secrets {
    credsvc: Credsvc,
    ended: Ended,
    cache: Cache<CredentialId, Arc<Kept>>,
}

#[derive(Debug)]
struct Kept {
    signing: Arc<Signing>,
    until: Instant,
    asked: Asked,
}

impl Secrets {
    pub(super) fn new(credsvc: Credsvc, ended: Ended) -> Self {
        let cache = Cache::builder().max_capacity(10_000).time_to_live(LIFE).build();
        Self { credsvc, ended, cache }
    }

    /// The secrets of an endpoint.
    pub(crate) async fn of(
        &self,
        tenant: TenantId,
        endpoint: WebhookEndpointId,
        owner: UserId,
        credential: CredentialId,
    ) -> Result<Arc<Signing>, Arc<Error>> {
        let read = async || {
            let asked = self.ended.asked();
            let found =
                self.credsvc.resolve_for_webhook(tenant, endpoint, owner, credential).await?;
            let nothing = || Error::CredentialRefused("it has no field `secret`".into());
            let signing = Signing::of(&found).map(Arc::new).ok_or_else(nothing)?;
            Ok(Arc::new(Kept { signing, until: Instant::now() + found.lives().min(LIFE), asked }))
        };
        // A lease may end while it is being fetched.
        for _ in 0..ATTEMPTS {
            if !self.ended.is_heard() {
                break;
            }
            let kept = self.cache.try_get_with(credential, read()).await?;
            if Instant::now() < kept.until && self.ended.holds(credential, &kept.asked) {
                return Ok(kept.signing.clone());
            }
            self.cache.invalidate(&credential).await;
        }
        read().await.map(|read: Arc<Kept>| read.signing.clone()).map_err(Arc::new)
    }
}
