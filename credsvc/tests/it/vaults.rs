//! A root key in Vault's transit engine: a stand-in that keeps to its documented API and errors, for what a real one does
//! not do when it is told to. `openbao.rs` has a real one.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
};

use credsvc::App;
use futures::future::join_all;
use serde_json::{Value, json};
use shared_models::{AgentId, RunId, Service};
use testkit::{Answer, Api, Stub, Stubbed};
use tokio_util::sync::CancellationToken;

use crate::harness::{TestApp, ask, config, resolve_path};

/// Keeps what it was given under the text it gave for it, with the context that must come back.
#[derive(Default)]
pub(crate) struct Kept(Mutex<BTreeMap<String, (String, Value)>>);

impl Kept {
    pub(crate) fn put(&self, text: &str, plain: &Value, context: &Value) -> String {
        let mut kept = self.0.lock().unwrap();
        let text = format!("{text}{}", kept.len());
        kept.insert(text.clone(), (plain.as_str().unwrap().into(), context.clone()));
        text
    }

    pub(crate) fn get(&self, text: &Value, context: &Value) -> Option<String> {
        let kept = self.0.lock().unwrap();
        let (plain, bound) = kept.get(text.as_str()?)?;
        (bound == context).then(|| plain.clone())
    }
}

fn transit(kept: &Kept, request: &Stubbed) -> Answer {
    transit_for("s.token", kept, request)
}

/// Lets in who shows this token.
pub(crate) fn transit_for(token: &str, kept: &Kept, request: &Stubbed) -> Answer {
    if request.path == "/v1/sys/health" {
        return Answer::Json(200, json!({ "sealed": false }));
    }
    if request.header("x-vault-token") != token {
        // Rude enough to send back what it was sent.
        let why = format!("permission denied {}", request.header("x-vault-token"));
        return Answer::Json(403, json!({ "errors": [why] }));
    }
    let body = request.json();
    let context = &body["associated_data"];
    match request.path.as_str() {
        "/v1/transit/encrypt/switchyard" => {
            let text = kept.put("vault:v1:", &body["plaintext"], context);
            Answer::Json(200, json!({ "data": { "ciphertext": text, "key_version": 1 } }))
        }
        "/v1/transit/decrypt/switchyard" => match kept.get(&body["ciphertext"], context) {
            Some(plain) => Answer::Json(200, json!({ "data": { "plaintext": plain } })),
            None => {
                Answer::Json(400, json!({ "errors": ["cipher: message authentication failed"] }))
            }
        },
        _ => Answer::Json(400, json!({ "errors": ["encryption key not found"] })),
    }
}

/// Everything a service does with its root key, and what it says while that is away.
pub(crate) async fn serves(vars: &[(&str, &str)], down: &AtomicU16, expected: &str) {
    let vars = [vars, &[("SWITCHYARD_KEY_CACHE_SECONDS", "0")]].concat();
    let app = TestApp::start_with(&vars).await;
    let (me, agent) = (app.trust.owner(), AgentId::mint());
    let id = app.own(&me).await;
    app.granted(&me, &id, agent).await;
    let (engine, path, asked) = (app.engine(&me), resolve_path(&id), ask(agent, me.user));

    engine.post(&path, &asked).await.expect(200);
    app.api.get("/readyz").await.expect(200);
    down.store(503, Ordering::Relaxed);
    let refused = engine.post(&path, &asked).await;
    let ready = app.api.get("/readyz").await;
    down.store(0, Ordering::Relaxed);
    engine.post(&path, &asked).await.expect(200);

    assert_eq!(refused.refusal(), (503, "root_key_unavailable"));
    assert_eq!(ready.status, 503);
    assert!(ready.text.contains(expected), "{}", ready.text);
    // Another tenant's row is refused by the other side: its context says whose it is.
    app.own(&app.trust.owner()).await;
    app.tamper(
        "update credsvc.tenant_key a set wrapped = b.wrapped from credsvc.tenant_key b
         where a.tenant_id <> b.tenant_id",
    )
    .await;
    let swapped = engine.post(&path, &asked).await;
    assert_eq!(swapped.refusal(), (500, "credential_unreadable"), "{}", swapped.text);
}

pub(crate) async fn stand_in(
    answer: impl Fn(&Kept, &Stubbed) -> Answer + Send + Sync + 'static,
) -> (Stub, Arc<AtomicU16>) {
    let (kept, down) = (Kept::default(), Arc::new(AtomicU16::new(0)));
    let told = down.clone();
    let stub = Stub::start(move |request| match told.load(Ordering::Relaxed) {
        0 => answer(&kept, request),
        status => Answer::Json(status, json!({ "errors": ["Vault is sealed"] })),
    })
    .await;
    (stub, down)
}

#[tokio::test]
async fn a_root_key_in_vaults_transit_engine_seals_opens_and_says_what_is_wrong() {
    let (stub, down) = stand_in(transit).await;
    let vars = [
        ("SWITCHYARD_ROOT_KEYS", "1=vault:switchyard"),
        ("SWITCHYARD_VAULT_ADDR", &*stub.url()),
        ("SWITCHYARD_VAULT_TOKEN", "s.token"),
    ];

    serves(&vars, &down, "it is sealed").await;
}

#[tokio::test]
async fn a_vault_that_does_not_let_us_in_or_lacks_the_key_stops_the_start_of_a_service_with_secrets()
 {
    let (stub, _) = stand_in(transit).await;
    let url = stub.url();
    let vars = |key: &'static str, token: &'static str| {
        [
            ("SWITCHYARD_ROOT_KEYS", key),
            ("SWITCHYARD_VAULT_ADDR", &*url),
            ("SWITCHYARD_VAULT_TOKEN", token),
        ]
    };
    let app = TestApp::start_with(&vars("1=vault:switchyard", "s.token")).await;
    app.own(&app.trust.owner()).await;

    for (key, token, expected) in [
        ("1=vault:switchyard", "s.wrong", "HTTP 403 permission denied"),
        ("1=vault:another", "s.token", "HTTP 400 encryption key not found"),
    ] {
        let verifier = app.trust.verifier(Service::Credsvc);
        let opened = App::open(&config(&vars(key, token)), app.store.clone(), verifier).await;
        let error = opened.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_leases_ask_vault_once_for_the_key_they_need_and_wait_while_it_has_too_much_to_do() {
    let (kept, limited) = (Kept::default(), Arc::new(AtomicU16::new(0)));
    let left = limited.clone();
    let stub = Stub::start(move |request| {
        let one_less = |left: u16| left.checked_sub(1);
        let limited = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok();
        if request.path.starts_with("/v1/transit/decrypt") && limited() {
            Answer::Json(429, json!({ "errors": ["rate limit quota exceeded"] }))
        } else {
            transit(&kept, request)
        }
    })
    .await;
    let url = stub.url();
    let vars = [
        ("SWITCHYARD_ROOT_KEYS", "1=vault:switchyard"),
        ("SWITCHYARD_VAULT_ADDR", &*url),
        ("SWITCHYARD_VAULT_TOKEN", "s.token"),
    ];
    let first = TestApp::start_with(&vars).await;
    let (people, agent) = ([first.trust.owner(), first.trust.owner()], AgentId::mint());
    let mut ids = Vec::new();
    for person in &people {
        let id = first.own(person).await;
        first.granted(person, &id, agent).await;
        ids.push(id);
    }
    let decrypted = || stub.hits("/v1/transit/decrypt/switchyard");
    assert_eq!(decrypted(), 2);

    // Another process tries the root key with one tenant's key as it starts, and knows nothing of the other's.
    let verifier = first.trust.verifier(Service::Credsvc);
    let (app, tasks) = App::open(&config(&vars), first.store.clone(), verifier).await.unwrap();
    assert_eq!(decrypted(), 3);
    first.life.spawn("ledger", tasks.ledger.run(first.life.soft()));
    let api = Api::router(credsvc::router(app, CancellationToken::new()).0);
    limited.store(2, Ordering::Relaxed);
    let leases = (0..50).map(|n| {
        let (me, run) = (&people[n % 2], Some(RunId::mint()));
        let (from, to) = (Service::Engine, Service::Credsvc);
        let engine = api.token(&first.trust.service_token(from, to, me.tenant, "a test", run));
        let (path, body) = (resolve_path(&ids[n % 2]), ask(agent, me.user));
        async move { engine.post(&path, &body).await }
    });
    let leases = join_all(leases).await;

    assert!(leases.iter().all(|lease| lease.status == 200));
    assert_eq!(decrypted(), 6, "told twice to wait, then one answer for all");
}
