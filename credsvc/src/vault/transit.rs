//! A root key that never leaves Vault or OpenBao: the transit engine seals and opens tenants' keys.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::future::{BoxFuture, FutureExt as _};
use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use super::{
    Key, RootKey, RootKeyError, VaultError,
    bound::Bound,
    entry::{Door, Entry, Pass, TransitEntry, WHO},
    remote::{decoded, down, encoded, from_text, patiently, sent, taken, to_text},
};

/// Where a transit engine is, and how it lets us in.
#[derive(Clone, Debug)]
pub struct TransitConfig {
    /// `SWITCHYARD_VAULT_ADDR`.
    pub address: Url,
    /// By which token.
    pub entry: TransitEntry,
    /// `SWITCHYARD_VAULT_MOUNT`.
    pub mount: String,
    /// `SWITCHYARD_VAULT_NAMESPACE`.
    pub namespace: Option<String>,
}

pub(crate) struct TransitRoot {
    door: Door,
    entry: Entry,
    /// Of the engine.
    mount: String,
    /// Its name there. It must be of a kind that takes associated data, such as `aes256-gcm96`.
    name: String,
    version: i32,
}

impl TransitRoot {
    pub(crate) fn new(
        config: TransitConfig,
        name: String,
        version: i32,
        http: reqwest::Client,
    ) -> Self {
        let TransitConfig { address, entry, mount, namespace } = config;
        let door = Door { address, namespace, http };
        Self { door, entry: Entry::new(entry), mount, name, version }
    }

    async fn ask(&self, verb: &str, body: Value) -> Result<Value, VaultError> {
        let path = format!("{}/{verb}/{}", self.mount, self.name);
        let mut pass = self.entry.pass(&self.door).await?;
        let (mut status, mut answer) = self.show(&pass, &path, &body).await?;
        // It may have ended, or somebody took it away.
        if status == 403
            && let Some(other) = self.entry.instead_of(&self.door, &pass).await?
        {
            pass = other;
            (status, answer) = self.show(&pass, &path, &body).await?;
        }
        if status == 200 {
            return Ok(answer);
        }
        let said = pass.said(&answer);
        // The key is right and the text is not, or is bound to something else.
        let refused =
            said.contains("message authentication failed") || said.contains("invalid ciphertext");
        if status == 400 && refused {
            return Err(VaultError::Refused);
        }
        Err(down(WHO, format!("HTTP {status} {said}").trim_end()))
    }

    async fn show(
        &self,
        pass: &Pass,
        path: &str,
        body: &Value,
    ) -> Result<(u16, Value), VaultError> {
        let busy = |status, _: &Value| status == 429;
        patiently(busy, || sent(WHO, self.door.with(pass, Method::POST, path).json(body))).await
    }

    fn body(bound: &Bound) -> Value {
        json!({ "associated_data": STANDARD.encode(bound.as_bytes()) })
    }
}

impl RootKey for TransitRoot {
    fn name(&self) -> String {
        format!("vault {}/{}", self.mount, self.name)
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
            decoded(WHO, taken(&mut answer, "/data/plaintext"))
        }
        .boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), RootKeyError>> {
        async move {
            let path = "sys/health?standbyok=true&perfstandbyok=true";
            let base = self.door.address.as_str().trim_end_matches('/');
            // Health is not a namespace's.
            let (status, _) = sent(WHO, self.door.http.get(format!("{base}/v1/{path}"))).await?;
            match status {
                200 => {
                    self.entry.pass(&self.door).await?;
                    self.entry.check().map_err(|why| down(WHO, why).into())
                }
                501 => Err(down(WHO, "it is not initialised").into()),
                503 => Err(down(WHO, "it is sealed").into()),
                status => Err(down(WHO, format!("HTTP {status}")).into()),
            }
        }
        .boxed()
    }

    fn tend(&self) -> BoxFuture<'_, ()> {
        async move {
            if let Err(error) = self.entry.keep_up(&self.door).await {
                // Said once there, and by readiness when the token that we have lets nobody in any more.
                tracing::debug!(%error, "the transit engine's token stays as it is");
            }
            let Ok(pass) = self.entry.pass(&self.door).await else { return };
            let life = &self.entry.life;
            if !life.is_due() {
                return;
            }
            let path = |verb| format!("auth/token/{verb}-self");
            let looked = sent(WHO, self.door.with(&pass, Method::GET, &path("lookup"))).await;
            if let Some(seconds) = life.looked(&looked) {
                // Not said, it would be for as long as the last time, which somebody may have made short.
                let asked = json!({ "increment": format!("{seconds}s") });
                let renewed = self.door.with(&pass, Method::POST, &path("renew")).json(&asked);
                life.renewed(&sent(WHO, renewed).await);
            }
        }
        .boxed()
    }
}
