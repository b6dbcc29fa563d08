//! A root key that never leaves Vault or OpenBao: the transit engine seals and opens tenants' keys.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::future::{BoxFuture, FutureExt as _};
use reqwest::{Method, RequestBuilder};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use url::Url;

use super::{
    Key, RootKey, RootKeyError, VaultError,
    bound::Bound,
    remote::{decoded, down, encoded, from_text, patiently, sent, to_text},
    token::Token,
};

const WHO: &str = "the transit engine";

/// Where a transit engine is, and how it lets us in.
#[derive(Clone, Debug)]
pub struct TransitConfig {
    /// `SWITCHYARD_VAULT_ADDR`.
    pub address: Url,
    /// `SWITCHYARD_VAULT_TOKEN`.
    pub token: SecretString,
    /// `SWITCHYARD_VAULT_MOUNT`.
    pub mount: String,
    /// `SWITCHYARD_VAULT_NAMESPACE`.
    pub namespace: Option<String>,
}

pub(crate) struct TransitRoot {
    config: TransitConfig,
    /// Its name there. It must be of a kind that takes associated data, such as `aes256-gcm96`.
    name: String,
    version: i32,
    http: reqwest::Client,
    token: Token,
}

impl TransitRoot {
    pub(crate) fn new(
        config: TransitConfig,
        name: String,
        version: i32,
        http: reqwest::Client,
    ) -> Self {
        Self { config, name, version, http, token: Token::default() }
    }

    async fn ask(&self, verb: &str, body: Value) -> Result<Value, VaultError> {
        let path = format!("{}/{verb}/{}", self.config.mount, self.name);
        let busy = |status, _: &Value| status == 429;
        let (status, answer) =
            patiently(busy, || sent(WHO, self.request(Method::POST, &path).json(&body))).await?;
        if status == 200 {
            return Ok(answer);
        }
        let said = said(&answer);
        // The key is right and the text is not, or is bound to something else.
        let refused =
            said.contains("message authentication failed") || said.contains("invalid ciphertext");
        if status == 400 && refused {
            return Err(VaultError::Refused);
        }
        Err(down(WHO, format!("HTTP {status} {said}").trim_end()))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let base = self.config.address.as_str().trim_end_matches('/');
        let request = self
            .http
            .request(method, format!("{base}/v1/{path}"))
            .header("X-Vault-Token", self.config.token.expose_secret());
        match &self.config.namespace {
            Some(namespace) => request.header("X-Vault-Namespace", namespace),
            None => request,
        }
    }

    fn body(bound: &Bound) -> Value {
        json!({ "associated_data": STANDARD.encode(bound.as_bytes()) })
    }
}

impl RootKey for TransitRoot {
    fn name(&self) -> String {
        format!("vault {}/{}", self.config.mount, self.name)
    }

    fn version(&self) -> i32 {
        self.version
    }

    fn wrap(&self, key: Key, bound: Bound) -> BoxFuture<'_, Result<String, VaultError>> {
        async move {
            let mut body = Self::body(&bound);
            body["plaintext"] = encoded(&key).as_str().into();
            let answer = self.ask("encrypt", body).await?;
            let text = answer["data"]["ciphertext"].as_str();
            Ok(to_text(self.version, text.ok_or_else(|| down(WHO, "no ciphertext"))?))
        }
        .boxed()
    }

    fn unwrap(&self, text: String, bound: Bound) -> BoxFuture<'_, Result<Key, VaultError>> {
        async move {
            let mut body = Self::body(&bound);
            body["ciphertext"] = from_text(&text, self.version)?.into();
            let mut answer = self.ask("decrypt", body).await?;
            decoded(&mut answer["data"]["plaintext"])
        }
        .boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), RootKeyError>> {
        async move {
            let base = self.config.address.as_str().trim_end_matches('/');
            let url = format!("{base}/v1/sys/health?standbyok=true&perfstandbyok=true");
            let (status, _) = sent(WHO, self.http.get(url)).await?;
            match status {
                200 => self.token.check().map_err(|why| down(WHO, why).into()),
                501 => Err(down(WHO, "it is not initialised").into()),
                503 => Err(down(WHO, "it is sealed").into()),
                status => Err(down(WHO, format!("HTTP {status}")).into()),
            }
        }
        .boxed()
    }

    fn tend(&self) -> BoxFuture<'_, ()> {
        async move {
            if !self.token.is_due() {
                return;
            }
            let path = |verb| format!("auth/token/{verb}-self");
            let looked = sent(WHO, self.request(Method::GET, &path("lookup"))).await;
            if let Some(seconds) = self.token.looked(&looked) {
                // Not said, it would be for as long as the last time, which somebody may have made short.
                let asked = json!({ "increment": format!("{seconds}s") });
                let renewed = self.request(Method::POST, &path("renew")).json(&asked);
                self.token.renewed(&sent(WHO, renewed).await);
            }
        }
        .boxed()
    }
}

/// What is wrong, in its own words.
fn said(answer: &Value) -> String {
    let errors = answer["errors"].as_array();
    let said = errors.into_iter().flatten().filter_map(Value::as_str);
    said.collect::<Vec<_>>().join("; ")
}
