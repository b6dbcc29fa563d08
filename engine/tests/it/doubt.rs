//! Calls of which nobody knows whether they happened.

use serde_json::json;
use testkit::{Answer, Stub};

use crate::harness::TestApp;
use crate::scene;

#[tokio::test]
async fn an_unsafe_call_that_breaks_off_waits_for_an_answer_and_is_never_repeated() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|_| Answer::Reset).await;
    let agent = scene::scripted(&api, "a", &scene::calls(&["pay"])).await;
    scene::tool(&api, &agent, "pay", &server.url(), "unsafe").await;
    let run = scene::start(&api, &agent).await;

    let waiting = scene::until(&api, &run, "waiting").await;

    assert_eq!(waiting["wait_reason"], "doubt");
    let call = waiting["in_doubt"][0]["call_id"].as_str().unwrap();
    let path = format!("/v1/runs/{run}/effects/{call}/answer");
    let answer = json!({ "outcome": "happened", "result": "receipt 7" });
    assert_eq!(api.post(&path, &answer).await.status, 202);
    let ended = scene::until(&api, &run, "succeeded").await;
    assert_eq!(ended["output"], "told: receipt 7");
    assert_eq!(server.requests().len(), 1);
    let effects = api.get(&format!("/v1/runs/{run}/effects")).await.expect(200);
    assert_eq!(effects["items"][0]["state"], "answered");
}

#[tokio::test]
async fn a_call_that_did_not_happen_is_told_to_the_model_as_an_error() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|_| Answer::Json(502, json!("bad gateway"))).await;
    let agent = scene::scripted(&api, "a", &scene::calls(&["pay"])).await;
    scene::tool(&api, &agent, "pay", &server.url(), "unsafe").await;
    let run = scene::start(&api, &agent).await;
    let waiting = scene::until(&api, &run, "waiting").await;

    let call = waiting["in_doubt"][0]["call_id"].as_str().unwrap();
    let path = format!("/v1/runs/{run}/effects/{call}/answer");
    assert_eq!(api.post(&path, &json!({ "outcome": "did_not_happen" })).await.status, 202);

    let ended = scene::until(&api, &run, "succeeded").await;
    assert_eq!(ended["output"], "told: The call did not happen");
}

#[tokio::test]
async fn a_read_that_breaks_off_is_an_error_for_the_model() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|_| Answer::Reset).await;
    let agent = scene::scripted(&api, "a", &scene::calls(&["look"])).await;
    scene::tool(&api, &agent, "look", &server.url(), "read").await;

    let run = scene::start(&api, &agent).await;

    scene::until(&api, &run, "succeeded").await;
}

/// A server that breaks off the first calls.
async fn shaky(broken: usize) -> Stub {
    let seen = std::sync::atomic::AtomicUsize::new(0);
    Stub::start(move |_| match seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        n if n < broken => Answer::Reset,
        _ => Answer::Json(200, json!("fine")),
    })
    .await
}

fn keys(server: &Stub) -> std::collections::BTreeSet<String> {
    server.requests().iter().map(|seen| seen.header("idempotency-key").to_owned()).collect()
}

#[tokio::test]
async fn a_keyed_call_that_breaks_off_is_made_again_with_the_same_key() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = shaky(2).await;
    let agent = scene::scripted(&api, "a", &scene::calls(&["pay"])).await;
    scene::tool(&api, &agent, "pay", &server.url(), "keyed").await;
    let run = scene::start(&api, &agent).await;

    let ended = scene::until(&api, &run, "succeeded").await;

    assert_eq!(ended["output"], "told: \"fine\"");
    assert_eq!((server.requests().len(), keys(&server).len()), (3, 1));
}

#[tokio::test]
async fn a_keyed_call_that_keeps_breaking_off_is_asked_about() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = shaky(9).await;
    let agent = scene::scripted(&api, "a", &scene::calls(&["pay"])).await;
    scene::tool(&api, &agent, "pay", &server.url(), "keyed").await;
    let run = scene::start(&api, &agent).await;

    let waiting = scene::until(&api, &run, "waiting").await;

    assert_eq!(waiting["in_doubt"][0]["tool_name"], "pay");
    assert_eq!((server.requests().len(), keys(&server).len()), (3, 1));
}

#[tokio::test]
async fn calls_beside_one_in_doubt_are_answered_as_they_come() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let broken = Stub::start(|_| Answer::Reset).await;
    let fine = Stub::start(|_| Answer::Json(200, json!("fine"))).await;
    let turns = json!([
        { "tool_calls": [{ "name": "pay", "arguments": {} }, { "name": "look", "arguments": {} }] },
        { "text": "done" },
    ]);
    let agent = scene::scripted(&api, "a", &turns).await;
    scene::tool(&api, &agent, "pay", &broken.url(), "unsafe").await;
    scene::tool(&api, &agent, "look", &fine.url(), "read").await;
    let run = scene::start(&api, &agent).await;

    let waiting = scene::until(&api, &run, "waiting").await;

    assert_eq!(waiting["in_doubt"].as_array().unwrap().len(), 1);
    let call = waiting["in_doubt"][0]["call_id"].as_str().unwrap();
    let path = format!("/v1/runs/{run}/effects/{call}/answer");
    assert_eq!(api.post(&path, &json!({ "outcome": "happened" })).await.status, 202);
    scene::until(&api, &run, "succeeded").await;
    assert_eq!((broken.requests().len(), fine.requests().len()), (1, 1));
}

#[tokio::test]
async fn an_answer_that_cannot_be_kept_is_refused_and_holds_nobody_up() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|_| Answer::Reset).await;
    let agent = scene::scripted(&api, "a", &scene::calls(&["pay"])).await;
    scene::tool(&api, &agent, "pay", &server.url(), "unsafe").await;
    let run = scene::start(&api, &agent).await;
    let waiting = scene::until(&api, &run, "waiting").await;
    let call = waiting["in_doubt"][0]["call_id"].as_str().unwrap();
    let path = format!("/v1/runs/{run}/effects/{call}/answer");

    for result in ["a\u{0}b".to_owned(), "x".repeat(65_537)] {
        let refused = api.post(&path, &json!({ "outcome": "happened", "result": result })).await;
        assert_eq!(refused.refusal(), (422, "validation_failed"));
    }

    assert_eq!(api.post(&path, &json!({ "outcome": "happened" })).await.status, 202);
    scene::until(&api, &run, "succeeded").await;
}

#[tokio::test]
async fn what_a_doubt_quotes_is_not_shown_to_who_may_not_see_content() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let server = Stub::start(|_| Answer::Json(502, json!("sesame"))).await;
    let agent = scene::scripted(&api, "a", &scene::calls(&["pay"])).await;
    scene::tool(&api, &agent, "pay", &server.url(), "unsafe").await;
    let run = scene::start(&api, &agent).await;
    let waiting = scene::until(&api, &run, "waiting").await;
    assert!(waiting["in_doubt"][0]["reason"].as_str().unwrap().contains("sesame"), "{waiting}");

    let blind = app.person(&owner.without_payloads());

    let seen = blind.get(&format!("/v1/runs/{run}")).await.expect(200);
    assert_eq!(seen["in_doubt"][0]["reason"], json!(null));
    let listed = blind.get("/v1/runs").await;
    assert!(!listed.text.contains("sesame"), "{}", listed.text);
    assert_eq!(listed.expect(200)["items"][0]["in_doubt"][0]["tool_name"], "pay");
}
