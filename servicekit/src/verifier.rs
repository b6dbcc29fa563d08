//! Who signed a token, and whether they may have.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use shared_models::Service;
use url::Url;

use crate::{
    Problem, codes, scope,
    token::{Claims, kid, unix_now},
};

/// One public key and its owner: an entry of the key set (RFC 8037 members, and `svc`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    /// Key type, always `OKP`.
    pub kty: String,
    /// Curve, always `Ed25519`.
    pub crv: String,
    /// The key's name.
    pub kid: String,
    /// The public key, base64url.
    pub x: String,
    /// The service that owns it.
    pub svc: Service,
}

/// The document at `/internal/jwks`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeySet {
    /// All keys, of all services.
    pub keys: Vec<PublicKey>,
}

impl PublicKey {
    /// A service's public key.
    pub fn new(svc: Service, public: [u8; 32]) -> Self {
        Self {
            kty: "OKP".into(),
            crv: "Ed25519".into(),
            kid: kid(&public),
            x: URL_SAFE_NO_PAD.encode(public),
            svc,
        }
    }
}

/// Checks tokens addressed to one service.
#[derive(Clone)]
pub struct Verifier {
    me: Service,
    keys: Arc<RwLock<Vec<PublicKey>>>,
    source: Option<(Url, reqwest::Client)>,
    /// When the key set was last asked for, and whether it came.
    asked: Arc<tokio::sync::Mutex<Option<(Instant, bool)>>>,
    // A caller uses one token many times, and a signature check costs more than a look-up.
    seen: Cache<String, Arc<Claims>>,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("me", &self.me).finish_non_exhaustive()
    }
}

const ASK_AT_MOST_EVERY: Duration = Duration::from_secs(1);
/// Requests wait for it, one after the other.
const ASK_FOR_AT_MOST: Duration = Duration::from_secs(5);

impl Verifier {
    /// A verifier that fetches the key set from the gateway, again whenever it meets an unknown key.
    pub fn from_url(me: Service, url: Url, http: reqwest::Client) -> Self {
        Self { source: Some((url, http)), ..Self::from_keys(me, Vec::new()) }
    }

    /// A verifier with a fixed key set.
    pub fn from_keys(me: Service, keys: Vec<PublicKey>) -> Self {
        Self {
            me,
            keys: Arc::new(RwLock::new(keys)),
            source: None,
            asked: Arc::default(),
            seen: Cache::builder()
                .max_capacity(10_000)
                .time_to_live(Duration::from_secs(30))
                .build(),
        }
    }

    /// Replaces the key set.
    pub fn replace_keys(&self, keys: Vec<PublicKey>) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        self.seen.invalidate_all();
    }

    /// The claims of a token addressed to this service; anything wrong with it is a 401 that does not say what.
    pub async fn verify(&self, token: &str) -> Result<Arc<Claims>, Problem> {
        self.verify_for(token, self.me).await
    }

    /// The same for a token that was addressed to another service, which now shows it to us.
    pub async fn verify_for(&self, token: &str, audience: Service) -> Result<Arc<Claims>, Problem> {
        if let Some(claims) = self.seen.get(token) {
            let fresh = claims.exp > unix_now() && claims.aud == audience;
            return if fresh {
                Ok(claims)
            } else {
                Err(refused("the token has expired or is not for this service"))
            };
        }
        let header =
            jsonwebtoken::decode_header(token).map_err(|_| refused("the token cannot be read"))?;
        let kid = header
            .kid
            .filter(|_| header.alg == Algorithm::EdDSA)
            .ok_or_else(|| refused("the token cannot be read"))?;
        let key = self.key(&kid).await?;
        let claims = Arc::new(check(token, &key, audience)?);
        self.seen.insert(token.to_owned(), claims.clone());
        Ok(claims)
    }

    async fn key(&self, kid: &str) -> Result<PublicKey, Problem> {
        if let Some(key) = self.known(kid) {
            return Ok(key);
        }
        self.refetch(kid).await?;
        self.known(kid).ok_or_else(|| refused("the token's key is not known"))
    }

    fn known(&self, kid: &str) -> Option<PublicKey> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.iter().find(|key| key.kid == kid).cloned()
    }

    /// One request at a time, at most one a second, however many unknown keys arrive.
    async fn refetch(&self, kid: &str) -> Result<(), Problem> {
        let Some((url, http)) = &self.source else { return Ok(()) };
        let mut asked = self.asked.lock().await;
        if self.known(kid).is_some() {
            return Ok(());
        }
        if let Some((_, answered)) = asked.filter(|(at, _)| at.elapsed() < ASK_AT_MOST_EVERY) {
            return if answered { Ok(()) } else { Err(no_keys()) };
        }
        let set = async {
            http.get(url.clone())
                .timeout(ASK_FOR_AT_MOST)
                .send()
                .await?
                .error_for_status()?
                .json::<KeySet>()
                .await
        }
        .await
        .inspect_err(|error| tracing::warn!(%error, "the key set cannot be fetched"));
        // Callers that waited meanwhile share the answer, also when there was none.
        *asked = Some((Instant::now(), set.is_ok()));
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) =
            set.map_err(|_| no_keys())?.keys;
        Ok(())
    }
}

fn no_keys() -> Problem {
    Problem::new(&codes::UNAVAILABLE, "the identity service is not available").retry_after(1)
}

fn check(token: &str, key: &PublicKey, audience: Service) -> Result<Claims, Problem> {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&[audience.name()]);
    validation.leeway = 5;
    let decoding = DecodingKey::from_ed_components(&key.x).map_err(Problem::internal)?;
    let claims = jsonwebtoken::decode::<Claims>(token, &decoding, &validation)
        .map_err(|_| refused("the token is wrong, has expired or is not for this service"))?
        .claims;
    // The signature says who signed; this says whether they may speak as that.
    let honest = claims.iss == key.svc
        && match claims.svc {
            None => key.svc == Service::Gateway && claims.user.is_some(),
            Some(svc) => {
                let granted = scope::of_service(svc, audience);
                svc == key.svc
                    && claims.user.is_none()
                    // What only people have must not make more of a service.
                    && claims.role.is_none()
                    && claims.teams.is_empty()
                    && claims.scopes.iter().all(|scope| granted.contains(&scope.as_str()))
            }
        };
    if honest { Ok(claims) } else { Err(refused("the token says more than its signer may")) }
}

fn refused(detail: &str) -> Problem {
    Problem::new(&codes::UNAUTHENTICATED, detail)
}
