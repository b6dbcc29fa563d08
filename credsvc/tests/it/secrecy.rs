//! A search for the secret, after everything that can be done with it.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use serde_json::json;
use shared_models::AgentId;
use tracing_subscriber::fmt::MakeWriter;

use crate::harness::{SECRET, TestApp, ask, at, of, resolve_path};

#[derive(Clone, Default)]
pub(crate) struct Captured(pub(crate) Arc<Mutex<Vec<u8>>>);

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
    let logs = Captured::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(logs.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
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
    let logs = String::from_utf8_lossy(&logs.0.lock().unwrap()).into_owned();
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
