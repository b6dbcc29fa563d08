//! A search for the secret, after everything that can be done with it.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use shared_models::AgentId;
use tracing::{Dispatch, subscriber::DefaultGuard};
use tracing_subscriber::fmt::MakeWriter;

use crate::{
    harness::{SECRET, TestApp, ask, at, of, resolve_path},
    vault_entry::{Holder, Porter, vars, write},
};

#[derive(Clone, Default)]
pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// Whatever this thread logs, as long as the second is kept.
    pub(crate) fn all() -> (Self, (DefaultGuard, Dispatch)) {
        let logs = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(logs.clone())
            .finish();
        let guard = tracing::subscriber::set_default(subscriber);
        // With one subscriber alone, what another test's thread comes to first is taken to interest nobody.
        (logs, (guard, Dispatch::new(tracing_subscriber::registry())))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Captured {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn the_secret_is_in_no_table_no_log_and_no_answer_to_people() {
    let (logs, _capturing) = Captured::all();
    let app = TestApp::start().await;
    let me = app.trust.owner();
    let (api, agent) = (app.person(&me), AgentId::mint());
    let keyed = api.header("idempotency-key", "k");
    let body =
        json!({ "name": "n", "credentials": { "token": SECRET, "nested": { "also": SECRET } } });
    let mut shown = Vec::new();

    let made = keyed.post(&of(&me), &body).await;
    let id = made.body["credential_id"].as_str().unwrap().to_owned();
    shown.push(made.text);
    shown.push(keyed.post(&of(&me), &body).await.text);
    shown.push(api.post(&of(&me), &body).await.text);
    shown.push(api.post(&of(&me), &json!({ "credentials": SECRET })).await.text);
    shown.push(api.post(&of(&me), &json!({ "credentials": [SECRET] })).await.text);
    shown.push(api.get(&format!("{}?user_id={}", at(&me, &id), me.user)).await.text);
    shown.push(api.get(&of(&me)).await.text);
    shown.push(api.patch(&at(&me, &id), &json!({ "credentials": { "more": SECRET } })).await.text);
    app.granted(&me, &id, agent).await;
    let resolved = app.engine(&me).post(&resolve_path(&id), &ask(agent, me.user)).await;
    shown.push(api.get("/v1/credential-audit").await.text);
    shown.push(api.delete(&at(&me, &id)).await.text);
    shown.push(api.delete(&format!("{}?force=true", at(&me, &id))).await.text);

    assert!(
        resolved.text.contains(SECRET),
        "the search must be able to find it: {}",
        resolved.text
    );
    let logs = logs.text();
    assert!(logs.contains("request"), "nothing was logged");
    // The mask may show the last four characters.
    let needle = &SECRET[..SECRET.len() - 4];
    for (place, text) in
        [("tables", app.db.dump().await), ("logs", logs), ("answers", shown.join("\n"))]
    {
        assert!(!text.is_empty());
        assert!(!text.contains(needle), "found in the {place}");
    }
}

const JWT: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjcmVkc3ZjIn0.c2lnbmVkLWJ5LXRoZS1jbHVzdGVy";
const SECRET_ID: &str = "84896a0c-1347-aa90-a4f6-aca8b7558780";

#[tokio::test]
async fn nothing_that_opens_a_vault_is_in_any_table_log_or_answer_whatever_the_vault_says() {
    let (logs, _capturing) = Captured::all();
    let dir = tempfile::tempdir().unwrap();
    let (token, jwt) = (dir.path().join("token"), dir.path().join("jwt"));
    write(&token, "s.first");
    write(&jwt, JWT);
    let (token, jwt) = (token.to_str().unwrap(), jwt.to_str().unwrap());
    let approle: &[_] = &[
        ("SWITCHYARD_VAULT_AUTH", "approle"),
        ("SWITCHYARD_VAULT_ROLE_ID", "r"),
        ("SWITCHYARD_VAULT_SECRET_ID", SECRET_ID),
    ];
    let pod: &[_] = &[
        ("SWITCHYARD_VAULT_AUTH", "kubernetes"),
        ("SWITCHYARD_VAULT_ROLE", "r"),
        ("SWITCHYARD_VAULT_JWT_FILE", jwt),
    ];
    let (mut text, mut logins) = (String::new(), String::new());

    for (login, expected, more) in [
        ("", Value::Null, &[("SWITCHYARD_VAULT_TOKEN", "s.first")][..]),
        ("", Value::Null, &[("SWITCHYARD_VAULT_TOKEN_FILE", token)][..]),
        ("/v1/auth/approle/login", json!({ "role_id": "r", "secret_id": SECRET_ID }), approle),
        ("/v1/auth/kubernetes/login", json!({ "role": "r", "jwt": JWT }), pod),
    ] {
        let porter = Porter::start(login, expected).await;
        let app = TestApp::start_with(&vars(&porter.stub.url(), more)).await;
        let holder = Holder::of(&app).await;
        holder.lease(&app).await.expect(200);
        app.app.tend_keys().await;
        porter.wants("somebody else's");
        porter.will([503]);
        let refused = holder.lease(&app).await;
        assert_eq!(refused.refusal(), (503, "root_key_unavailable"));
        app.app.tend_keys().await;
        text += &refused.text;
        text += &app.api.get("/readyz").await.text;
        text += &app.db.dump().await;
        let sent = porter.stub.requests();
        logins.extend(sent.iter().map(|sent| String::from_utf8_lossy(&sent.body)));
        logins.extend(sent.iter().map(|sent| sent.header("x-vault-token")));
    }

    text += &logs.text();
    assert!(text.contains("[redacted]") && text.contains("logged in to the transit engine"));
    for secret in ["s.first", "s.login1", SECRET_ID, JWT] {
        assert!(logins.contains(secret), "{secret} was not used");
        assert!(!text.contains(secret), "found {secret}");
    }
}
