//! Root keys on other machines: stand-ins that keep to the documented APIs of Vault's transit engine and of AWS' key
//! service, and their errors.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
};

use credsvc::App;
use serde_json::{Value, json};
use shared_models::{AgentId, Service};
use testkit::{Answer, Stub, Stubbed};

use crate::harness::{TestApp, ask, config, resolve_path};

/// Keeps what it was given under the text it gave for it, with the context that must come back.
#[derive(Default)]
struct Kept(Mutex<BTreeMap<String, (String, Value)>>);

impl Kept {
    fn put(&self, text: &str, plain: &Value, context: &Value) -> String {
        let mut kept = self.0.lock().unwrap();
        let text = format!("{text}{}", kept.len());
        kept.insert(text.clone(), (plain.as_str().unwrap().into(), context.clone()));
        text
    }

    fn get(&self, text: &Value, context: &Value) -> Option<String> {
        let kept = self.0.lock().unwrap();
        let (plain, bound) = kept.get(text.as_str()?)?;
        (bound == context).then(|| plain.clone())
    }
}

fn transit(kept: &Kept, request: &Stubbed) -> Answer {
    if request.path == "/v1/sys/health" {
        return Answer::Json(200, json!({ "sealed": false }));
    }
    if request.header("x-vault-token") != "s.token" {
        return Answer::Json(403, json!({ "errors": ["permission denied"] }));
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

fn kms(kept: &Kept, request: &Stubbed) -> Answer {
    let signed =
        request.header("authorization").starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/");
    if !signed {
        return Answer::Json(400, json!({ "__type": "IncompleteSignatureException" }));
    }
    let (body, context) = (request.json(), request.json()["EncryptionContext"].clone());
    match request.header("x-amz-target") {
        "TrentService.Encrypt" => {
            let blob = kept.put("blob", &body["Plaintext"], &context);
            Answer::Json(200, json!({ "CiphertextBlob": blob, "KeyId": body["KeyId"] }))
        }
        "TrentService.Decrypt" => match kept.get(&body["CiphertextBlob"], &context) {
            Some(plain) => Answer::Json(200, json!({ "Plaintext": plain })),
            None => Answer::Json(400, json!({ "__type": "InvalidCiphertextException" })),
        },
        "TrentService.DescribeKey" => {
            Answer::Json(200, json!({ "KeyMetadata": { "Enabled": true } }))
        }
        _ => Answer::Json(400, json!({ "__type": "UnknownOperationException" })),
    }
}

/// Everything a service does with its root key, and what it says while that is away.
async fn serves(vars: &[(&str, &str)], down: &AtomicU16, expected: &str) {
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

async fn stand_in(
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
async fn a_root_key_in_aws_key_service_seals_opens_and_says_what_is_wrong() {
    let (stub, down) = stand_in(kms).await;
    let vars = [
        ("SWITCHYARD_ROOT_KEYS", "1=aws-kms:alias/switchyard"),
        ("AWS_ENDPOINT_URL_KMS", &*stub.url()),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
    ];

    serves(&vars, &down, "HTTP 503").await;
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
