//! Endpoints that are told of runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use shared_models::Role;
use testkit::{Answer, Api, Stub, Stubbed, eventually};

use crate::harness::TestApp;
use crate::scene;

/// Retries at once, twice.
const QUICK: (&str, &str) = ("SWITCHYARD_WEBHOOK_RETRY_SECONDS", "0,0.05,0.05");
const LOCAL: (&str, &str) = ("SWITCHYARD_EGRESS_ALLOW", "127.0.0.1");

pub(crate) async fn endpoint(api: &Api, url: &str, kinds: &[&str]) -> Value {
    let body = json!({ "url": format!("{url}/hook"), "event_types": kinds });
    api.post("/v1/webhook-endpoints", &body).await.expect(201)
}

fn path(endpoint: &Value) -> String {
    format!("/v1/webhook-endpoints/{}", endpoint["endpoint_id"].as_str().unwrap())
}

async fn run(api: &Api, agent: &str) -> Value {
    api.post("/v1/runs", &json!({ "agent": agent, "input": "hi", "wait": 30 })).await.expect(200)
}

/// Once the endpoint's log says so of everything that it was to be told.
async fn log(api: &Api, endpoint: &Value, n: usize, status: &str) -> Vec<Value> {
    let list = format!("{}/deliveries", path(endpoint));
    eventually(&format!("{n} deliveries to be {status}"), async || {
        let items = api.get(&list).await.expect(200)["items"].as_array().unwrap().clone();
        let all = items.len() == n && items.iter().all(|item| item["status"] == status);
        all.then_some(items)
    })
    .await
}

fn signed(request: &Stubbed, secret: &str) -> String {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let (id, at) = (request.header("webhook-id"), request.header("webhook-timestamp"));
    let mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    let mac = mac.chain_update(format!("{id}.{at}.")).chain_update(&request.body).finalize();
    format!("v1,{}", STANDARD.encode(mac.into_bytes()))
}

#[tokio::test]
async fn an_endpoint_is_told_of_what_it_asked_for_and_can_verify_it() {
    let server = Stub::start(|_| Answer::Json(200, json!({ "thanks": true }))).await;
    let app = TestApp::start_with(&[LOCAL, QUICK]).await;
    let (api, others) = (app.person(&app.trust.owner()), app.person(&app.trust.owner()));
    scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    scene::agent(&others, &json!({ "name": "a", "model": "sim:echo" })).await;
    let endpoint = endpoint(&api, &server.url(), &["run.finished"]).await;

    run(&others, "a").await;
    let ended = run(&api, "a").await;
    let told = log(&api, &endpoint, 1, "delivered").await.remove(0);

    assert_eq!(server.hits("/hook"), 1, "nobody is told of another tenant's runs");
    let request = &server.requests()[0];
    let body = request.json();
    assert_eq!(
        request.header("webhook-signature"),
        signed(request, endpoint["secret"].as_str().unwrap())
    );
    assert_eq!(request.header("webhook-id"), told["message_id"]);
    assert_eq!(
        (&body["type"], &body["data"]["status"]),
        (&json!("run.finished"), &json!("succeeded"))
    );
    assert_eq!((&body["data"]["run_id"], &told["run_id"]), (&ended["run_id"], &ended["run_id"]));
    assert_eq!((&told["attempts"], &told["status_code"]), (&json!(1), &json!(200)));
    let one = format!("{}/deliveries/{}", path(&endpoint), told["message_id"].as_str().unwrap());
    let one = api.get(&one).await.expect(200);
    assert_eq!(one["body"], body);
    assert_eq!(one["attempt_log"][0]["response"], r#"{"thanks":true}"#);
    let listed = api.get("/v1/webhook-endpoints").await.expect(200);
    assert_eq!(listed["items"][0].get("secret"), None, "shown once");
    assert_eq!(others.get(&path(&endpoint)).await.refusal(), (404, "webhook_endpoint_not_found"));
}

#[tokio::test]
async fn what_fails_is_tried_again_under_the_same_id_and_then_given_up_until_somebody_asks() {
    let status = Arc::new(AtomicU16::new(500));
    let now = status.clone();
    let server = Stub::start(move |_| {
        Answer::Raw(now.load(Ordering::SeqCst), Vec::new(), "x\0".repeat(4_000).into_bytes())
    })
    .await;
    let app = TestApp::start_with(&[LOCAL, QUICK]).await;
    let api = app.person(&app.trust.owner());
    scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let endpoint = endpoint(&api, &server.url(), &["run.finished"]).await;

    run(&api, "a").await;
    let failed = log(&api, &endpoint, 1, "failed").await.remove(0);

    assert_eq!((&failed["attempts"], &failed["status_code"]), (&json!(3), &json!(500)));
    assert!(failed["response"].as_str().unwrap().len() <= 2_048, "only its beginning is kept");
    let ids: Vec<String> =
        server.requests().iter().map(|seen| seen.header("webhook-id").to_owned()).collect();
    assert_eq!(ids, vec![failed["message_id"].as_str().unwrap(); 3]);
    let seen = api.get(&path(&endpoint)).await.expect(200);
    assert!(seen["failing_since"].is_string() && seen["enabled"] == true, "{seen}");

    status.store(204, Ordering::SeqCst);
    let one = format!("{}/deliveries/{}", path(&endpoint), ids[0]);
    assert_eq!(api.post(&format!("{one}/resend"), &json!({})).await.status, 202);
    let sent = log(&api, &endpoint, 1, "delivered").await.remove(0);
    assert_eq!((&sent["message_id"], &sent["attempts"]), (&json!(ids[0]), &json!(4)));
    assert_eq!(api.get(&one).await.expect(200)["attempt_log"].as_array().unwrap().len(), 4);
    assert_eq!(api.get(&path(&endpoint)).await.expect(200)["failing_since"], Value::Null);
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_disabled_and_what_it_missed_can_be_sent_later() {
    let status = Arc::new(AtomicU16::new(410));
    let now = status.clone();
    let server = Stub::start(move |_| Answer::Json(now.load(Ordering::SeqCst), Value::Null)).await;
    let app = TestApp::start_with(&[LOCAL, QUICK]).await;
    let api = app.person(&app.trust.owner());
    scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let endpoint = endpoint(&api, &server.url(), &["run.finished"]).await;
    let since = json!({ "since": endpoint["created_at"] });
    let resend = format!("{}/resend", path(&endpoint));

    run(&api, "a").await;
    let gone = eventually("the endpoint to be disabled", async || {
        let seen = api.get(&path(&endpoint)).await.expect(200);
        (seen["enabled"] == false).then_some(seen)
    })
    .await;
    run(&api, "a").await;
    let list = format!("{}/deliveries?status=skipped", path(&endpoint));
    eventually("the second event to be skipped", async || {
        (api.get(&list).await.expect(200)["items"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;

    assert_eq!(gone["disabled_reason"], "it answered 410 Gone");
    assert_eq!(server.hits("/hook"), 1);
    assert_eq!(api.post(&resend, &since).await.refusal(), (409, "webhook_endpoint_disabled"));

    status.store(200, Ordering::SeqCst);
    let back = api.patch(&path(&endpoint), &json!({ "enabled": true })).await.expect(200);
    assert_eq!(back["disabled_reason"], Value::Null);
    assert_eq!(api.post(&resend, &since).await.expect(202)["resent"], 2);
    log(&api, &endpoint, 2, "delivered").await;
}

#[tokio::test]
async fn an_endpoint_that_has_failed_for_too_long_is_disabled_with_the_reason() {
    let server = Stub::start(|_| Answer::Reset).await;
    let patience = ("SWITCHYARD_WEBHOOK_GIVE_UP_SECONDS", "1");
    let slow = ("SWITCHYARD_WEBHOOK_RETRY_SECONDS", "0,1.5,1.5");
    let app = TestApp::start_with(&[LOCAL, slow, patience]).await;
    let api = app.person(&app.trust.owner());
    scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let endpoint = endpoint(&api, &server.url(), &["run.finished"]).await;

    run(&api, "a").await;
    let log = log(&api, &endpoint, 1, "skipped").await;

    let seen = api.get(&path(&endpoint)).await.expect(200);
    let reason = seen["disabled_reason"].as_str().unwrap();
    assert!(reason.starts_with("every attempt has failed since 20"), "{reason}");
    assert_eq!((&log[0]["attempts"], server.hits("/hook")), (&json!(2), 2));
}

#[tokio::test]
async fn both_secrets_sign_while_one_is_being_replaced() {
    let server = Stub::start(|_| Answer::Json(200, Value::Null)).await;
    let app = TestApp::start_with(&[LOCAL, QUICK]).await;
    let api = app.person(&app.trust.owner());
    scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let endpoint = endpoint(&api, &server.url(), &["run.finished"]).await;
    let rotate = format!("{}/rotate-secret", path(&endpoint));
    let old = endpoint["secret"].as_str().unwrap();

    let new = api.post(&rotate, &json!({ "overlap_seconds": 600 })).await.expect(200);
    run(&api, "a").await;
    log(&api, &endpoint, 1, "delivered").await;
    let last = api.post(&rotate, &json!({ "overlap_seconds": 0 })).await.expect(200);
    run(&api, "a").await;
    log(&api, &endpoint, 2, "delivered").await;

    let (first, second) = (&server.requests()[0], &server.requests()[1]);
    let new = new["secret"].as_str().unwrap();
    let both = format!("{} {}", signed(first, new), signed(first, old));
    assert_eq!(first.header("webhook-signature"), both);
    assert_eq!(
        second.header("webhook-signature"),
        signed(second, last["secret"].as_str().unwrap())
    );
    for bad in [json!({ "secret": "hunter2" }), json!({ "overlap_seconds": 2_592_001 })] {
        assert_eq!(api.post(&rotate, &bad).await.refusal(), (422, "validation_failed"), "{bad}");
    }
}

#[tokio::test]
async fn a_slow_endpoint_holds_nobody_up() {
    let slow = Stub::start(|_| Answer::Never).await;
    let quick = Stub::start(|_| Answer::Json(200, Value::Null)).await;
    let app = TestApp::start_with(&[LOCAL, QUICK]).await;
    let api = app.person(&app.trust.owner());
    scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let stuck = endpoint(&api, &slow.url(), &[]).await;
    let fine = endpoint(&api, &quick.url(), &[]).await;

    for _ in 0..4 {
        run(&api, "a").await;
    }
    log(&api, &fine, 12, "delivered").await;

    assert!((1..=4).contains(&slow.hits("/hook")), "{}", slow.hits("/hook"));
    log(&api, &stuck, 12, "pending").await;
}

#[tokio::test]
async fn what_a_killed_process_was_about_to_send_is_sent_by_another() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let server = Stub::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::Never,
        _ => Answer::Json(200, Value::Null),
    })
    .await;
    let app = TestApp::start_with(&[LOCAL, QUICK]).await;
    let api = app.person(&app.trust.owner());
    scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let endpoint = endpoint(&api, &server.url(), &["run.finished"]).await;

    run(&api, "a").await;
    eventually("the first attempt", async || (server.hits("/hook") == 1).then_some(())).await;
    app.life.shutdown();
    app.life.hard().cancel();
    let node = app.node().await;
    // As if the attempt had been made as long ago as one can take.
    sqlx::query("update engine.webhook_delivery set next_attempt_at = now() - interval '1 second'")
        .execute(&mut app.db.admin().await)
        .await
        .unwrap();
    eventually("the second attempt", async || (server.hits("/hook") >= 2).then_some(())).await;

    let ids: Vec<_> =
        server.requests().iter().map(|seen| seen.header("webhook-id").to_owned()).collect();
    assert_eq!(ids[0], ids[1], "{endpoint}");
    node.kill();
}

#[tokio::test]
async fn endpoints_are_for_administrators_and_checked() {
    let app = TestApp::start_with(&[QUICK]).await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let member = app.person(&owner.colleague(Role::Member));
    let good = json!({ "url": "https://hooks.example.com/x" });

    assert_eq!(member.post("/v1/webhook-endpoints", &good).await.status, 403);
    assert_eq!(member.get("/v1/webhook-endpoints").await.status, 403);
    for (field, bad) in [
        ("url", json!("http://127.0.0.1/x")),
        ("url", json!("http://169.254.169.254/latest")),
        ("url", json!("ftp://example.com")),
        ("url", json!("nowhere")),
        ("url", json!(format!("https://example.com/{}", "x".repeat(2_048)))),
        ("event_types", json!(["run.finished", "run.exploded"])),
        ("description", json!("a\0b")),
        ("secret", json!("whsec_c2hvcnQ=")),
        ("colour", json!("red")),
    ] {
        let mut body = good.clone();
        body[field] = bad.clone();
        let refused = api.post("/v1/webhook-endpoints", &body).await;
        assert!(matches!(refused.status, 400 | 422), "{field}: {bad}: {}", refused.text);
        assert!(refused.text.contains(field), "{field}: {}", refused.text);
    }
    let made = api.post("/v1/webhook-endpoints", &good).await.expect(201);
    let patch = api.patch(&path(&made), &json!({ "url": "http://10.0.0.1/" })).await;
    assert_eq!(patch.refusal(), (422, "validation_failed"));
    let stale =
        api.header("if-match", "\"7\"").patch(&path(&made), &json!({ "enabled": false })).await;
    assert_eq!(stale.status, 412);
    assert_eq!(api.delete(&path(&made)).await.status, 204);
    assert_eq!(api.get(&path(&made)).await.refusal(), (404, "webhook_endpoint_not_found"));
}

#[tokio::test]
async fn a_vault_that_is_away_costs_no_attempt() {
    let server = Stub::start(|_| Answer::Json(200, Value::Null)).await;
    let app = TestApp::start_with(&[LOCAL, QUICK]).await;
    let api = app.person(&app.trust.owner());
    scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let endpoint = endpoint(&api, &server.url(), &["run.finished"]).await;
    app.peers.interrupt(app.peers.newest());

    run(&api, "a").await;
    let told = testkit::eventually_within(Duration::from_secs(15), "the second try", async || {
        let list = api.get(&format!("{}/deliveries", path(&endpoint))).await.expect(200);
        (list["items"][0]["status"] == "delivered").then(|| list["items"][0].clone())
    })
    .await;

    assert_eq!((&told["attempts"], server.hits("/hook")), (&json!(1), 1));
}
