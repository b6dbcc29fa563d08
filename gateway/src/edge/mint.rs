//! The tokens by which people are known inside: made from their API key's identity, one per service, reused for half
//! their life.

use std::{sync::Arc, time::Duration};

use axum::http::HeaderValue;
use moka::sync::Cache;
use servicekit::{SigningKey, token};
use shared_models::Service;

use crate::identity::Identity;

#[derive(Clone)]
pub(super) struct Mint {
    key: SigningKey,
    made: Cache<(Arc<Identity>, Service), HeaderValue>,
}

impl Mint {
    pub(super) fn new(key: SigningKey) -> Self {
        let half = Duration::from_secs(token::LIFETIME as u64 / 2);
        Self { key, made: Cache::builder().max_capacity(50_000).time_to_live(half).build() }
    }

    /// `Bearer …` for a service. Whoever has changed in any way gets another.
    pub(super) fn token(&self, identity: &Arc<Identity>, service: Service) -> HeaderValue {
        self.made.get_with((identity.clone(), service), || {
            let token = self.key.sign(&identity.claims(service));
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
            value.set_sensitive(true);
            value
        })
    }
}
