//! A root key that never leaves AWS' key service.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::future::{BoxFuture, FutureExt as _};
use serde_json::{Value, json};
use url::Url;

use super::{
    Key, RootKey, RootKeyError, VaultError,
    bound::Bound,
    remote::{decoded, down, encoded, from_text, patiently, sent, taken, to_text},
};
use crate::sigv4::{self, Scope};

const WHO: &str = "the key service";

/// Where the key service is, and how it lets us in.
#[derive(Clone)]
pub struct KmsConfig {
    /// `AWS_REGION`.
    pub region: String,
    /// `AWS_ENDPOINT_URL_KMS`, or AWS' own of the region.
    pub endpoint: Url,
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`.
    pub(crate) keys: sigv4::Keys,
}

impl std::fmt::Debug for KmsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KmsConfig").field("region", &self.region).finish_non_exhaustive()
    }
}

pub(crate) struct KmsRoot {
    config: KmsConfig,
    /// Its id, alias or ARN.
    key: String,
    version: i32,
    http: reqwest::Client,
}

impl KmsRoot {
    pub(crate) fn new(config: KmsConfig, key: String, version: i32, http: reqwest::Client) -> Self {
        Self { config, key, version, http }
    }

    async fn ask(&self, operation: &str, mut body: Value) -> Result<Value, VaultError> {
        body["KeyId"] = self.key.as_str().into();
        let body = zeroize::Zeroizing::new(body.to_string());
        let (status, answer) = patiently(is_busy, || self.send(operation, body.as_bytes())).await?;
        if status == 200 {
            return Ok(answer);
        }
        match kind(&answer) {
            "InvalidCiphertextException" | "IncorrectKeyException" => Err(VaultError::Refused),
            kind => {
                // Either spelling, by what refused.
                let message = answer["message"].as_str().or(answer["Message"].as_str());
                let said = format!("HTTP {status} {kind} {}", message.unwrap_or_default());
                Err(down(WHO, said.trim_end()))
            }
        }
    }

    /// Signed anew each time: a signature is good for minutes.
    async fn send(&self, operation: &str, body: &[u8]) -> Result<(u16, Value), VaultError> {
        let target = format!("TrentService.{operation}");
        let named = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", &target)];
        let (config, scope) = (&self.config, Scope { region: &self.config.region, service: "kms" });
        let (url, now) = (&config.endpoint, sigv4::now());
        let headers = sigv4::sign(&config.keys, &scope, url, &named, body, now)
            .map_err(|error| down(WHO, error))?;
        sent(WHO, self.http.post(url.clone()).headers(headers).body(body.to_vec())).await
    }

    fn body(bound: &Bound) -> Value {
        json!({ "EncryptionContext": { "switchyard": STANDARD.encode(bound.as_bytes()) } })
    }
}

/// `com.amazonaws.kms#NotFoundException`, or only its end.
fn kind(answer: &Value) -> &str {
    let kind = answer["__type"].as_str().unwrap_or_default();
    kind.rsplit('#').next().unwrap_or_default()
}

/// What the service says may be asked again.
fn is_busy(status: u16, answer: &Value) -> bool {
    let passing = [
        "ThrottlingException",
        "LimitExceededException",
        "KMSInternalException",
        "DependencyTimeoutException",
        "KeyUnavailableException",
    ];
    status == 429 || status >= 500 || passing.contains(&kind(answer))
}

impl RootKey for KmsRoot {
    fn name(&self) -> String {
        format!("aws-kms {}", self.key)
    }

    fn version(&self) -> i32 {
        self.version
    }

    fn wrap(&self, key: Key, bound: Bound) -> BoxFuture<'_, Result<String, VaultError>> {
        async move {
            let mut body = Self::body(&bound);
            body["Plaintext"] = encoded(&key).as_str().into();
            let answer = self.ask("Encrypt", body).await?;
            let text = answer["CiphertextBlob"].as_str();
            Ok(to_text(self.version, text.ok_or_else(|| down(WHO, "no ciphertext"))?))
        }
        .boxed()
    }

    fn unwrap(&self, text: String, bound: Bound) -> BoxFuture<'_, Result<Key, VaultError>> {
        async move {
            let mut body = Self::body(&bound);
            body["CiphertextBlob"] = from_text(&text, self.version)?.into();
            let mut answer = self.ask("Decrypt", body).await?;
            decoded(WHO, taken(&mut answer, "/Plaintext"))
        }
        .boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), RootKeyError>> {
        async move {
            let answer = self.ask("DescribeKey", json!({})).await?;
            match answer["KeyMetadata"]["Enabled"].as_bool() {
                Some(true) => Ok(()),
                _ => Err(down(WHO, "the key is not enabled").into()),
            }
        }
        .boxed()
    }
}
