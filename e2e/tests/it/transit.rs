//! A transit engine with the root key, that refuses the first login and takes the first token away: whoever goes on has been
//! through everything that can go wrong. Rude enough to send back what it was sent.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use testkit::{Answer, Stub, Stubbed};

use crate::needles::Secrets;

const SECRET_ID: &str = "84896a0c-1347-aa90-a4f6-aca8b7558780";
const TAKEN_AWAY: &str = "hvs.taken-away-37b51d194a7513e45b56f6524f2d51f2";
const GOOD: &str = "hvs.good-acbd18db4cc2f85cedef654fccc4a4d8";

/// A running one.
pub(crate) struct Transit(Stub);

impl Transit {
    pub(crate) async fn start() -> Self {
        let (logins, kept) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
        let answer = move |request: &Stubbed| match request.path.as_str() {
            "/v1/sys/health" => Answer::Json(200, json!({})),
            "/v1/auth/approle/login" => match logins.fetch_add(1, Ordering::SeqCst) {
                0 => refused(503, &String::from_utf8_lossy(&request.body)),
                1 => token(TAKEN_AWAY),
                _ => token(GOOD),
            },
            path => match request.header("x-vault-token") {
                GOOD => sealed(&kept, path, &request.json()),
                shown => refused(403, shown),
            },
        };
        Self(Stub::start(answer).await)
    }

    pub(crate) fn url(&self) -> String {
        self.0.url()
    }

    /// What a credsvc needs that has its root key there, and asks for tenants' keys each time.
    pub(crate) fn settings(url: &str) -> [(&str, &str); 6] {
        [
            ("SWITCHYARD_ROOT_KEYS", "2=vault:switchyard,1=env:SWITCHYARD_ROOT_KEY"),
            ("SWITCHYARD_VAULT_ADDR", url),
            ("SWITCHYARD_VAULT_AUTH", "approle"),
            ("SWITCHYARD_VAULT_ROLE_ID", "credsvc"),
            ("SWITCHYARD_VAULT_SECRET_ID", SECRET_ID),
            ("SWITCHYARD_KEY_CACHE_SECONDS", "0"),
        ]
    }

    /// What was shown to it, all of which must have been.
    pub(crate) fn add_to(&self, secrets: &mut Secrets) {
        let sent = self.0.requests();
        let body = |request: &Stubbed| String::from_utf8_lossy(&request.body).contains(SECRET_ID);
        assert!(sent.iter().any(body), "nobody logged in");
        for token in [TAKEN_AWAY, GOOD] {
            let shown = sent.iter().any(|request| request.header("x-vault-token") == token);
            assert!(shown, "nobody showed {token}");
            secrets.add("vault's token", token);
        }
        secrets.add("vault's secret id", SECRET_ID);
    }
}

fn token(token: &str) -> Answer {
    Answer::Json(200, json!({ "auth": { "client_token": token, "lease_duration": 100_000 } }))
}

fn refused(status: u16, sent: &str) -> Answer {
    Answer::Json(status, json!({ "errors": [format!("not with {sent}")] }))
}

/// Keeps what is to be sealed, under a text of its own.
fn sealed(kept: &Mutex<BTreeMap<String, Value>>, path: &str, body: &Value) -> Answer {
    let mut kept = kept.lock().unwrap();
    let data = match path {
        "/v1/transit/encrypt/switchyard" => {
            let text = format!("vault:v1:{}", kept.len());
            kept.insert(text.clone(), body["plaintext"].clone());
            json!({ "ciphertext": text })
        }
        "/v1/transit/decrypt/switchyard" => {
            json!({ "plaintext": kept[body["ciphertext"].as_str().unwrap()] })
        }
        _ => return refused(404, ""),
    };
    Answer::Json(200, json!({ "data": data }))
}
