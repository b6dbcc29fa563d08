//! Google's public keys, kept for an hour and read anew when a token names one that is not among them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Method};
use jsonwebtoken::jwk::JwkSet;
use servicekit::egress::{Call, Egress, HostPattern};
use tokio::sync::Mutex;
use url::Url;

use crate::error::Error;

const LIFE: Duration = Duration::from_secs(60 * 60);
/// A key nobody knows is not asked for more often than this.
const FRESH: Duration = Duration::from_secs(10);
const LARGEST: usize = 256 * 1024;

#[derive(Debug)]
struct Kept {
    keys: Arc<JwkSet>,
    read: Instant,
}

/// The keys in use. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Google {
    egress: Egress,
    url: Url,
    kept: Arc<Mutex<Option<Kept>>>,
}

impl Google {
    /// The keys at a URL that the operator configured.
    pub(crate) fn new(egress: &Egress, url: Url) -> Result<Self, reqwest::Error> {
        Ok(Self { egress: egress.also_allowing(&url)?, url, kept: Arc::default() })
    }

    /// A key set that has this key, if there is one. Old keys serve while new ones cannot be had.
    pub(crate) async fn keys(&self, kid: &str) -> Result<Arc<JwkSet>, Error> {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = kept.as_ref() {
            let age = kept.read.elapsed();
            if age < FRESH || (age < LIFE && kept.keys.find(kid).is_some()) {
                return Ok(kept.keys.clone());
            }
        }
        match self.read().await {
            Ok(keys) => {
                let keys = Arc::new(keys);
                *kept = Some(Kept { keys: keys.clone(), read: Instant::now() });
                Ok(keys)
            }
            Err(error) => {
                tracing::warn!(error, "Google's keys cannot be read");
                let kept = kept.as_ref().filter(|kept| kept.keys.find(kid).is_some());
                kept.map(|kept| kept.keys.clone()).ok_or(Error::CredentialUnavailable)
            }
        }
    }

    async fn read(&self) -> Result<JwkSet, String> {
        let call = Call {
            method: Method::GET,
            url: self.url.clone(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            injection: None,
            allowed_hosts: self.url.host_str().and_then(HostPattern::parse).into_iter().collect(),
            timeout: Duration::from_secs(10),
            max_response_bytes: LARGEST,
        };
        let answer = self.egress.send(call).await.map_err(|error| error.to_string())?;
        if !answer.status.is_success() {
            return Err(format!("the key server answered HTTP {}", answer.status));
        }
        serde_json::from_slice(&answer.body).map_err(|error| error.to_string())
    }
}
