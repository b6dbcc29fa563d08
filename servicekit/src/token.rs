//! Tokens between services: EdDSA JWTs that live a minute.
//!
//! The gateway's key signs tokens for people; a service's key signs tokens only for itself. Which key belongs to whom is
//! in the key set the gateway publishes (see [`crate::verifier`]).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared_models::{ApiKeyId, Role, RunId, Service, TeamId, TenantId, UserId};

use crate::{scope, verifier::PublicKey};

/// How long a token is good for, in seconds.
pub const LIFETIME: i64 = 60;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The service whose key signed it.
    pub iss: Service,
    /// The only service that may take it.
    pub aud: Service,
    /// The user's id or the service's name.
    pub sub: String,
    /// When it ends, in Unix seconds.
    pub exp: i64,
    /// When it was made.
    pub iat: i64,
    /// The tenant it speaks for.
    pub tenant: TenantId,
    /// The person, when it is a person's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// The API key that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<ApiKeyId>,
    /// The person's teams.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub teams: Vec<TeamId>,
    /// The person's role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// What it allows.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Whether content may be shown, or only that there is some.
    #[serde(default)]
    pub payloads: bool,
    /// The service, when it is a service's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub svc: Option<Service>,
    /// Why a service asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// The run a service asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
}

/// A service's private key.
#[derive(Clone)]
pub struct SigningKey {
    service: Service,
    encoding: EncodingKey,
    public: PublicKey,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("service", &self.service).finish_non_exhaustive()
    }
}

/// A key that is not 32 bytes of base64.
#[derive(Debug, thiserror::Error)]
#[error("a service key is 32 random bytes in base64")]
pub struct BadKey;

impl SigningKey {
    /// Reads the 32-byte Ed25519 seed from base64.
    pub fn parse(service: Service, seed: &SecretString) -> Result<Self, BadKey> {
        let bytes: [u8; 32] = STANDARD
            .decode(seed.expose_secret().trim())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(BadKey)?;
        Ok(Self::from_seed(service, &bytes))
    }

    /// The key of a seed.
    pub fn from_seed(service: Service, seed: &[u8; 32]) -> Self {
        // PKCS#8 of an Ed25519 seed is this fixed prefix and the seed (RFC 8410, section 7).
        let mut der = vec![
            0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22,
            0x04, 0x20,
        ];
        der.extend_from_slice(seed);
        let public = ed25519_dalek::SigningKey::from_bytes(seed).verifying_key().to_bytes();
        Self {
            service,
            encoding: EncodingKey::from_ed_der(&der),
            public: PublicKey::new(service, public),
        }
    }

    /// Whose key it is.
    pub fn service(&self) -> Service {
        self.service
    }

    /// The half that others verify with.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs claims; `iss` is made to be the key's owner.
    pub fn sign(&self, claims: &Claims) -> String {
        let claims = Claims { iss: self.service, ..claims.clone() };
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.public.kid.clone());
        // Signing in memory with a well-formed key has nothing left to fail on.
        jsonwebtoken::encode(&header, &claims, &self.encoding).unwrap_or_default()
    }
}

/// The name of a key: the start of its hash.
pub(crate) fn kid(public: &[u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(public)[..12])
}

/// For whom a token was made, and why.
type Slot = (Service, TenantId, String);
/// When a token was made, and the token.
type Made = (i64, String);

/// Makes a service's own tokens, and reuses each for half its life.
#[derive(Clone, Debug)]
pub struct Minter {
    key: SigningKey,
    cache: Arc<Mutex<HashMap<Slot, Made>>>,
}

impl Minter {
    /// A minter for the key's owner.
    pub fn new(key: SigningKey) -> Self {
        Self { key, cache: Arc::default() }
    }

    /// The key it signs with.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// A token by which this service asks `aud` something for a tenant, saying why, and for which run if for one.
    pub fn service_token(
        &self,
        aud: Service,
        tenant: TenantId,
        purpose: &str,
        run: Option<RunId>,
    ) -> String {
        let now = unix_now();
        if run.is_some() {
            return self.key.sign(&self.claims(aud, tenant, purpose, run, now));
        }
        let slot = (aud, tenant, purpose.to_owned());
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, token)) = cache.get(&slot)
            && now - made < LIFETIME / 2
        {
            return token.clone();
        }
        cache.retain(|_, (made, _)| now - *made < LIFETIME / 2);
        let token = self.key.sign(&self.claims(aud, tenant, purpose, run, now));
        cache.insert(slot, (now, token.clone()));
        token
    }

    fn claims(
        &self,
        aud: Service,
        tenant: TenantId,
        purpose: &str,
        run: Option<RunId>,
        now: i64,
    ) -> Claims {
        let me = self.key.service;
        Claims {
            iss: me,
            aud,
            sub: me.name().into(),
            exp: now + LIFETIME,
            iat: now,
            tenant,
            user: None,
            key: None,
            teams: Vec::new(),
            role: None,
            scopes: scope::of_service(me, aud).iter().map(|&scope| scope.to_owned()).collect(),
            payloads: true,
            svc: Some(me),
            purpose: Some(purpose.to_owned()),
            run,
        }
    }
}

/// Seconds since 1970, for token lifetimes only: everything else that is compared uses the database's clock.
pub fn unix_now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs() as i64)
}
