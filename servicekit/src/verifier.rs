//! Who signed a token, and whether they may have.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use shared_models::Service;
use url::Url;

use crate::{
    Problem, codes, scope,
    token::{Claims, LIFETIME, kid, unix_now},
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
    keys: Arc<RwLock<Vec<Known>>>,
    source: Option<(Url, reqwest::Client)>,
    /// When the key set was last asked for, and whether it came.
    asked: Arc<tokio::sync::Mutex<Option<(Instant, bool)>>>,
    // A caller uses one token many times, and a signature check costs more than a look-up. By the hash of the whole
    // token, signature and all: tokens themselves are not kept.
    seen: Cache<[u8; 32], Arc<Claims>>,
}

/// A key, ready to use: finding its point on the curve once spares every check a tenth.
#[derive(Clone)]
struct Known {
    kid: String,
    owner: Service,
    key: VerifyingKey,
}

impl Known {
    /// Not every text is a point on the curve; what is not is no key of anybody.
    fn read(key: &PublicKey) -> Option<Self> {
        let bytes: [u8; 32] = URL_SAFE_NO_PAD.decode(&key.x).ok()?.try_into().ok()?;
        let point = VerifyingKey::from_bytes(&bytes).ok().filter(|point| !point.is_weak());
        let (kid, owner) = (key.kid.clone(), key.svc);
        let known = point.map(|key| Self { kid, owner, key });
        if known.is_none() {
            tracing::warn!(kid = key.kid, service = %key.svc, "a key of the key set is no key");
        }
        known
    }
}

/// What a token says of itself before anything is believed.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

/// Clocks of machines differ by a little.
const LEEWAY: i64 = 5;

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
            keys: Arc::new(RwLock::new(keys.iter().filter_map(Known::read).collect())),
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
        self.set(&keys);
        self.seen.invalidate_all();
    }

    /// The claims of a token addressed to this service; anything wrong with it is a 401 that does not say what.
    pub async fn verify(&self, token: &str) -> Result<Arc<Claims>, Problem> {
        self.verify_for(token, self.me).await
    }

    /// The same for a token that was addressed to another service, which now shows it to us.
    pub async fn verify_for(&self, token: &str, audience: Service) -> Result<Arc<Claims>, Problem> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        if let Some(claims) = self.seen.get(&digest) {
            let fresh = claims.exp > unix_now() && claims.aud == audience;
            return if fresh {
                Ok(claims)
            } else {
                Err(refused("the token has expired or is not for this service"))
            };
        }
        let unreadable = || refused("the token cannot be read");
        let (signed, signature) = token.rsplit_once('.').ok_or_else(unreadable)?;
        let (header, claims) = signed.split_once('.').ok_or_else(unreadable)?;
        let header: Header = part(header).ok_or_else(unreadable)?;
        if header.alg != "EdDSA" {
            return Err(unreadable());
        }
        let key = self.key(&header.kid).await?;
        if !is_signed(&key, signed, signature) {
            return Err(refused("the token is wrong"));
        }
        let claims: Claims = part(claims).ok_or_else(unreadable)?;
        check(&claims, key.owner, audience)?;
        let claims = Arc::new(claims);
        self.seen.insert(digest, claims.clone());
        Ok(claims)
    }

    fn set(&self, keys: &[PublicKey]) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) =
            keys.iter().filter_map(Known::read).collect();
    }

    async fn key(&self, kid: &str) -> Result<Known, Problem> {
        if let Some(key) = self.known(kid) {
            return Ok(key);
        }
        self.refetch(kid).await?;
        self.known(kid).ok_or_else(|| refused("the token's key is not known"))
    }

    fn known(&self, kid: &str) -> Option<Known> {
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
        self.set(&set.map_err(|_| no_keys())?.keys);
        Ok(())
    }
}

fn no_keys() -> Problem {
    Problem::new(&codes::UNAVAILABLE, "the identity service is not available").retry_after(1)
}

/// One part of a token: base64url of JSON.
fn part<T: for<'de> Deserialize<'de>>(text: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

/// By an algorithm that takes one encoding of a signature only; keys of small order, which would fit many, are not known.
fn is_signed(key: &Known, signed: &str, signature: &str) -> bool {
    let bytes = URL_SAFE_NO_PAD.decode(signature).ok();
    let signature: Option<[u8; 64]> = bytes.and_then(|bytes| bytes.try_into().ok());
    signature.is_some_and(|bytes| {
        key.key.verify(signed.as_bytes(), &Signature::from_bytes(&bytes)).is_ok()
    })
}

fn check(claims: &Claims, signer: Service, audience: Service) -> Result<(), Problem> {
    let now = unix_now();
    if claims.aud != audience || claims.exp.saturating_add(LEEWAY) < now {
        return Err(refused("the token has expired or is not for this service"));
    }
    // Who signs is trusted to say who calls, not to say so for longer than a token lives.
    if claims.iat > now + LEEWAY || claims.exp.saturating_sub(claims.iat) > LIFETIME + LEEWAY {
        return Err(refused("the token is good for longer than a token may be"));
    }
    // The signature says who signed; this says whether they may speak as that.
    let honest = claims.iss == signer
        && match claims.svc {
            None => signer == Service::Gateway && claims.user.is_some(),
            Some(svc) => {
                let granted = scope::of_service(svc, audience);
                svc == signer
                    && claims.user.is_none()
                    // What only people have must not make more of a service.
                    && claims.role.is_none()
                    && claims.teams.is_empty()
                    && claims.scopes.iter().all(|scope| granted.contains(&scope.as_str()))
            }
        };
    if honest { Ok(()) } else { Err(refused("the token says more than its signer may")) }
}

fn refused(detail: &str) -> Problem {
    Problem::new(&codes::UNAUTHENTICATED, detail)
}
