//! The secrets that webhooks are signed with, read from the vault and kept for a minute at most.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use moka::future::Cache;
use secrecy::{ExposeSecret as _, SecretString};
use shared_models::{CredentialId, TenantId, UserId, WebhookEndpointId};

use crate::clients::credsvc::{Credsvc, Secret};
use crate::error::Error;

/// The longest a secret is kept.
const LIFE: Duration = Duration::from_secs(60);

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
    cache: Cache<CredentialId, Arc<Signing>>,
}

impl Secrets {
    pub(super) fn new(credsvc: Credsvc) -> Self {
        let cache = Cache::builder().max_capacity(10_000).time_to_live(LIFE).build();
        Self { credsvc, cache }
    }

    /// The secrets of an endpoint.
    pub(crate) async fn of(
        &self,
        tenant: TenantId,
        endpoint: WebhookEndpointId,
        owner: UserId,
        credential: CredentialId,
    ) -> Result<Arc<Signing>, Arc<Error>> {
        let read = async {
            let found = self.credsvc.resolve_for_webhook(tenant, endpoint, owner, credential).await;
            let nothing = || Error::CredentialRefused("it has no field `secret`".into());
            Signing::of(&found?).map(Arc::new).ok_or_else(nothing)
        };
        self.cache.try_get_with(credential, read).await
    }
}
