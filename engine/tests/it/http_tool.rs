//! The HTTP tool inside of runs: what reaches the other side, and what the model is told.

use std::time::Duration;

use serde_json::{Value, json};
use shared_models::Service;
use testkit::{Answer, Api, Stub, Stubbed};

use crate::harness::TestApp;
use crate::scene;

const SECRET: &str = "s3cret-Value/with+odd=chars";

/// An agent that calls its tool `call` once with these arguments, then says what it was told.
async fn agent(api: &Api, arguments: &Value) -> String {
    let script = json!([
        { "tool_calls": [{ "name": "call", "arguments": arguments }] },
        { "text": "told: {{last_tool_result}}" },
    ]);
    let body = json!({ "name": format!("a{}", arguments), "model": "sim:script",
        "instructions": format!("```sim\n{script}\n```") });
    let made = api.post("/v1/agents", &body).await.expect(201);
    made["agent_id"].as_str().unwrap().to_owned()
}

/// Gives the agent a tool of this shape, under the name `call`.
async fn give(api: &Api, agent: &str, tool: &Value, link: &Value) -> String {
    let mut fields = json!({ "name": "call", "kind": "http",
        "parameters": { "type": "object", "properties": { "id": {}, "note": {} } } });
    for (key, value) in tool.as_object().unwrap() {
        fields[key] = value.clone();
    }
    let made = api.post("/v1/tools", &fields).await.expect(201);
    let tool = made["tool_id"].as_str().unwrap().to_owned();
    api.put(&format!("/v1/agents/{agent}/tools/{tool}"), link).await.expect(200);
    tool
}

async fn run(api: &Api, agent: &str) -> Value {
    let started = json!({ "agent_id": agent, "input": "go", "wait": 30 });
    api.post("/v1/runs", &started).await.expect(200)
}

/// What the model was told by its tool.
async fn told(api: &Api, agent: &str) -> String {
    let run = run(api, agent).await;
    assert_eq!(run["status"], "succeeded", "{run}");
    run["output"].as_str().unwrap().strip_prefix("told: ").unwrap().to_owned()
}

async fn outside(answer: impl Fn(&Stubbed) -> Answer + Send + Sync + 'static) -> Stub {
    Stub::start(answer).await
}

#[tokio::test]
async fn a_call_carries_its_arguments_and_the_secret_and_brings_back_no_secret() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let echo = |seen: &Stubbed| {
        Answer::Json(200, json!({ "key": seen.header("x-api-key"), "at": seen.path }))
    };
    let server = outside(echo).await;
    let credential = app.peers.credential(json!({ "token": SECRET }));
    let agent = agent(&api, &json!({ "id": "a/b", "note": "hello" })).await;
    let url = format!("{}/items/{{id}}", server.url());
    let config = json!({ "method": "POST", "url": url, "credential": { "in": "header", "name": "X-Api-Key", "prefix": "Key " } });
    give(
        &api,
        &agent,
        &json!({ "config": config, "effect": "keyed" }),
        &json!({ "credential_id": credential }),
    )
    .await;

    let told = told(&api, &agent).await;

    let seen = &server.requests()[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/items/a%2Fb"));
    assert_eq!(seen.json(), json!({ "note": "hello" }));
    assert_eq!(seen.header("x-api-key"), format!("Key {SECRET}"));
    assert!(!seen.header("idempotency-key").is_empty());
    assert_eq!(told, r#"{"at":"/items/a%2Fb","key":"Key [redacted]"}"#);
    let resolved = &app.peers.requests(&format!("/internal/credentials/{credential}/resolve"))[0];
    let asked = resolved.json();
    assert_eq!((&asked["owner"], &asked["purpose"]), (&json!(owner.user), &json!("tool:call")));
    assert_eq!((&asked["grantee"]["id"], &asked["host"]), (&json!(agent), &json!("127.0.0.1")));
    assert!(!app.db.dump().await.contains(SECRET), "the secret is in the database");
}

#[tokio::test]
async fn a_call_waits_for_a_vault_that_is_restarted_instead_of_failing() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = outside(|_| Answer::Json(200, json!({ "ok": true }))).await;
    let credential = app.peers.credential(json!({ "token": SECRET }));
    app.peers.interrupt(credential);
    let agent = agent(&api, &json!({ "id": 1 })).await;
    let config = json!({ "method": "POST", "url": server.url(), "credential": { "in": "bearer" } });
    give(&api, &agent, &json!({ "config": config }), &json!({ "credential_id": credential })).await;

    let told = told(&api, &agent).await;

    assert_eq!(told, r#"{"ok":true}"#);
    let resolve = format!("/internal/credentials/{credential}/resolve");
    assert_eq!(app.peers.requests(&resolve).len(), 2);
}

#[tokio::test]
async fn an_error_of_the_other_side_is_told_to_the_model_with_its_status() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = outside(|_| Answer::Json(422, json!({ "why": "no such item" }))).await;
    let agent = agent(&api, &json!({ "id": 1 })).await;
    give(&api, &agent, &json!({ "config": { "method": "POST", "url": server.url() } }), &json!({}))
        .await;

    let told = told(&api, &agent).await;

    assert!(told.contains("HTTP 422") && told.contains("no such item"), "{told}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_host_that_is_not_allowed_is_never_asked() {
    let app = TestApp::start_with(&[]).await;
    let api = app.person(&app.trust.owner());
    let server = outside(|_| Answer::Json(200, json!({}))).await;
    let credential = app.peers.credential(json!({ "token": SECRET }));
    let agent = agent(&api, &json!({ "id": 1 })).await;
    let config = json!({ "url": server.url(), "credential": { "in": "bearer" } });
    give(&api, &agent, &json!({ "config": config }), &json!({ "credential_id": credential })).await;

    let told = told(&api, &agent).await;

    assert!(told.contains("not a public address"), "{told}");
    assert!(server.requests().is_empty());
    let resolve = format!("/internal/credentials/{credential}/resolve");
    assert!(app.peers.requests(&resolve).is_empty(), "not even the secret was fetched");
}

#[tokio::test]
async fn a_credential_does_not_follow_a_tool_to_another_host() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let (good, evil) = (
        outside(|_| Answer::Json(200, json!({}))).await,
        outside(|_| Answer::Json(200, json!({}))).await,
    );
    let credential = app.peers.credential(json!({ "token": SECRET }));
    let agent = agent(&api, &json!({ "id": 1 })).await;
    let config = json!({ "url": good.url(), "credential": { "in": "bearer" } });
    let tool =
        give(&api, &agent, &json!({ "config": config }), &json!({ "credential_id": credential }))
            .await;

    api.patch(&format!("/v1/tools/{tool}"), &json!({ "config": { "url": evil.url() } }))
        .await
        .expect(200);
    let told = told(&api, &agent).await;

    assert!(told.contains("not among the allowed hosts"), "{told}");
    assert!(good.requests().is_empty() && evil.requests().is_empty());
}

#[tokio::test]
async fn without_a_grant_nothing_is_sent() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = outside(|_| Answer::Json(200, json!({}))).await;
    let credential = app.peers.credential(json!({ "token": SECRET }));
    let agent = agent(&api, &json!({ "id": 1 })).await;
    let config = json!({ "url": server.url(), "credential": { "in": "bearer" } });
    give(&api, &agent, &json!({ "config": config }), &json!({ "credential_id": credential })).await;

    app.peers.forget(credential);
    let told = told(&api, &agent).await;

    assert!(told.contains("no such credential"), "{told}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn an_unsafe_call_without_an_answer_waits_in_doubt() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    for (name, answer) in [
        ("timeout", Answer::Never),
        ("reset", Answer::Reset),
        ("bad gateway", Answer::Json(502, json!({}))),
    ] {
        let server = outside(move |_| answer.clone()).await;
        let agent = agent(&api, &json!({ "id": name })).await;
        let config = json!({ "method": "POST", "url": server.url() });
        let tool = json!({ "config": config, "timeout_ms": 2_500 });
        let tool = give(&api, &agent, &tool, &json!({})).await;

        let run = testkit::eventually_within(Duration::from_secs(40), name, async || {
            let run = run(&api, &agent).await;
            (run["status"] == "waiting").then_some(run)
        })
        .await;

        assert_eq!(run["wait_reason"], "doubt", "{name}: {run}");
        assert_eq!(server.requests().len(), 1, "{name}");
        assert_eq!(api.delete(&format!("/v1/tools/{tool}")).await.status, 204);
    }
}

#[tokio::test]
async fn a_long_answer_is_put_aside_and_says_so() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    // Each of these bytes is no text and takes three to be spelled out.
    let server = Stub::start(|_| Answer::Raw(200, Vec::new(), vec![0xff; 60_000])).await;
    let agent = scene::scripted(&api, "a", &scene::calls(&["look"])).await;
    scene::tool(&api, &agent, "look", &server.url(), "read").await;

    let run = scene::start(&api, &agent).await;

    let ended = scene::until(&api, &run, "succeeded").await;
    let told = ended["output"].as_str().unwrap();
    assert!(told.len() < 6_000 && told.contains("The result has "), "{}", told.len());
}

#[tokio::test]
async fn the_service_whose_event_started_a_run_learns_what_it_did() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let server = outside(|_| Answer::Json(200, json!({ "ok": true }))).await;
    let agent = agent(&api, &json!({ "id": 1 })).await;
    give(&api, &agent, &json!({ "config": { "method": "POST", "url": server.url() } }), &json!({}))
        .await;
    let run = run(&api, &agent).await;
    let path = format!("/internal/runs/{}/effects", run["run_id"].as_str().unwrap());

    let seen = app.service(Service::Eventsvc, &owner).get(&path).await.expect(200);
    let elsewhere = app.service(Service::Eventsvc, &app.trust.owner()).get(&path).await;

    let effect = &seen["items"][0];
    assert_eq!((&effect["tool_name"], &effect["state"]), (&json!("call"), &json!("done")));
    assert_eq!((seen["items"].as_array().unwrap().len(), &seen["more"]), (1, &json!(false)));
    // Of very many calls the first are told.
    sqlx::query(
        "insert into engine.effect (run_id, call_id, tenant_id, tool_name, class, idempotency_key, timeout_ms, state)
         select run_id, 'more-' || n, tenant_id, tool_name, class, gen_random_uuid(), timeout_ms, state
         from engine.effect cross join generate_series(1, 200) n",
    )
    .execute(&mut app.db.admin().await)
    .await
    .unwrap();
    let seen = app.service(Service::Eventsvc, &owner).get(&path).await.expect(200);
    assert_eq!((seen["items"].as_array().unwrap().len(), &seen["more"]), (200, &json!(true)));
    assert_eq!(elsewhere.refusal(), (404, "run_not_found"));
    assert_eq!(api.get(&path).await.refusal(), (403, "scope_missing"));
}
