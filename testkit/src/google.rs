//! Google's keys: a JSON Web Key Set over HTTP, and tokens signed with it as Pub/Sub signs its pushes.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};

use crate::{Answer, Stub};

/// Made for tests, and good for nothing else.
const KEY: &str = include_str!("google_key.b64");
const KID: &str = "test-key";

/// A stand-in for Google's key server.
pub struct GoogleKeys {
    stub: Stub,
}

impl GoogleKeys {
    /// Starts it.
    pub async fn start() -> Self {
        let set = google_keys();
        Self { stub: Stub::start(move |_| Answer::Json(200, set.clone())).await }
    }

    /// Where the keys are.
    pub fn url(&self) -> String {
        format!("{}/oauth2/v3/certs", self.stub.url())
    }

    /// How often they were asked for.
    pub fn asked(&self) -> usize {
        self.stub.requests().len()
    }
}

/// Google's public keys, as its key server gives them.
pub fn google_keys() -> Value {
    let jwk = Jwk::from_encoding_key(&key(), Algorithm::RS256).expect("a public key");
    let mut jwk = serde_json::to_value(jwk).expect("JSON");
    jwk["kid"] = KID.into();
    json!({ "keys": [jwk] })
}

/// A token as Pub/Sub sends it, good for an hour from `now` (Unix seconds); `more` replaces claims.
pub fn push_token(audience: &str, account: &str, now: i64, more: &Value) -> String {
    let mut claims = json!({
        "aud": audience, "azp": "113774264463038321964", "email": account, "email_verified": true,
        "exp": now + 3600, "iat": now, "iss": "https://accounts.google.com", "sub": "113774264463038321964",
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        claims[name] = value.clone();
    }
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some(KID.into());
    jsonwebtoken::encode(&header, &claims, &key()).expect("a token")
}

fn key() -> EncodingKey {
    let text: String = KEY.split_ascii_whitespace().collect();
    EncodingKey::from_rsa_der(&STANDARD.decode(text).expect("base64"))
}
