//! Signing deliveries as Standard Webhooks 1.0 says.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use testkit::{Api, Reply};

/// As long as a provider waits for an answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// A delivery ready to be sent, once or more often.
#[derive(Clone, Debug)]
pub struct Signed {
    id: String,
    timestamp: String,
    signature: String,
    body: String,
}

/// Signs a body under a message id, now.
pub fn sign(secret: &str, id: &str, body: &str) -> Signed {
    let timestamp = servicekit::token::unix_now().to_string();
    let key = STANDARD.decode(secret.trim_start_matches("whsec_")).expect("a whsec_ secret");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any key length");
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    Signed { id: id.to_owned(), timestamp, signature, body: body.to_owned() }
}

impl Signed {
    /// Sends it to a hook.
    pub async fn send(&self, api: &Api, hook: &str) -> Reply {
        api.header("webhook-id", &self.id)
            .header("webhook-timestamp", &self.timestamp)
            .header("webhook-signature", &self.signature)
            .header("content-type", "application/json")
            .raw(reqwest::Method::POST, hook, self.body.clone().into_bytes())
            .await
    }

    /// Sends it to an address that may not answer: the status, or what kind of failure it was.
    pub async fn try_send(&self, http: &reqwest::Client, url: &str) -> Result<u16, &'static str> {
        let request = http
            .post(url)
            .timeout(PATIENCE)
            .header("webhook-id", &self.id)
            .header("webhook-timestamp", &self.timestamp)
            .header("webhook-signature", &self.signature)
            .header("content-type", "application/json")
            .body(self.body.clone());
        match request.send().await {
            Ok(response) => Ok(response.status().as_u16()),
            Err(error) if error.is_connect() => Err("not connected"),
            Err(error) if error.is_timeout() => Err("timed out"),
            Err(_) => Err("cut off"),
        }
    }
}
