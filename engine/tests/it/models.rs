//! What a tenant says about models, and what comes of it.

use serde_json::{Value, json};
use shared_models::Role;
use testkit::{Answer, Api, Stub};

use crate::harness::TestApp;
use crate::scene;

fn completion(text: &str) -> Answer {
    let choice = json!({ "index": 0, "finish_reason": "stop",
        "message": { "role": "assistant", "content": text } });
    Answer::Json(
        200,
        json!({ "choices": [choice], "usage": { "prompt_tokens": 1_000, "completion_tokens": 100 } }),
    )
}

async fn run(api: &Api, agent: &str) -> testkit::Reply {
    api.post("/v1/runs", &json!({ "agent": agent, "input": "hi", "wait": 30 })).await
}

fn listed(models: &Value, id: &str) -> Value {
    let data = models["data"].as_array().unwrap();
    data.iter().find(|model| model["id"] == id).cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_new_tenant_has_the_simulated_models_and_its_agents_listed_as_openais_clients_expect() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    scene::agent(&api, &json!({ "name": "mine", "model": "sim:echo" })).await;
    scene::agent(&api, &json!({ "name": "asleep", "status": "paused" })).await;

    let models = api.get("/v1/models").await.expect(200);
    let all = api.get("/v1/models?all=true").await.expect(200);
    let one = api.get("/v1/models/sim:demo").await.expect(200);

    assert_eq!(models["object"], "list");
    assert_eq!((&one["object"], &one["owned_by"]), (&json!("model"), &json!("sim")));
    assert_eq!((&one["simulated"], &one["created"]), (&json!(true), &json!(0)));
    assert_eq!(listed(&models, "agent:mine")["owned_by"], "agent");
    assert_eq!(listed(&models, "agent:asleep"), Value::Null);
    assert_eq!(listed(&models, "openai:*"), Value::Null, "there is no key");
    assert_eq!(listed(&all, "openai:*")["available"], false);
    let colleague = app.person(&owner.colleague(Role::Member));
    let theirs = colleague.get("/v1/models").await.expect(200);
    assert_eq!(listed(&theirs, "agent:mine"), Value::Null);
    assert_eq!(api.get("/v1/models/martian:x").await.refusal(), (404, "model_not_found"));
}

#[tokio::test]
async fn a_model_that_an_administrator_adds_is_asked_with_the_credential_lent_to_it() {
    let server = Stub::start(|_| completion("from the house")).await;
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let credential = app.peers.credential(json!({ "api_key": "house-key" }));
    let agent = json!({ "name": "a", "model": "house:fast" });
    let early = api.post("/v1/agents", &agent).await;

    let model = json!({ "name": "house:fast", "provider_model": "qwen3:8b", "credential_id": credential,
        "base_url": format!("{}/v1", server.url()), "kind": "internal", "context_window": 32_768 });
    let made = api.post("/v1/model-settings", &model).await.expect(201);
    api.post("/v1/agents", &agent).await.expect(201);
    let ended = run(&api, "a").await.expect(200);

    assert_eq!(early.refusal(), (422, "validation_failed"), "nobody knew the provider then");
    assert_eq!(
        (&ended["status"], &ended["output"]),
        (&json!("succeeded"), &json!("from the house"))
    );
    assert_eq!(ended["cost_micro_usd"], Value::Null, "nobody has said what it costs");
    let seen = &server.requests()[0];
    assert_eq!(seen.header("authorization"), "Bearer house-key");
    assert_eq!(seen.json()["model"], "qwen3:8b");
    let grant = &app.peers.requests("/internal/grants")[0].json();
    assert_eq!(grant["grantee"], json!({ "kind": "model", "id": made["model_id"] }));
    let asked = app.peers.requests(&format!("/internal/credentials/{credential}/resolve"));
    assert_eq!(asked[0].json()["grantee"]["kind"], "model");
    let models = api.get("/v1/models").await.expect(200);
    assert_eq!(listed(&models, "house:fast")["context_window"], 32_768);
}

#[tokio::test]
async fn a_model_that_is_not_enabled_starts_no_run() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let backed = json!({ "name": "b", "model": "sim:demo", "fallback_model": "sim:echo" });
    scene::agent(&api, &backed).await;

    let off = json!({ "name": "sim:echo", "enabled": false });
    let made = api.post("/v1/model-settings", &off).await.expect(201);
    let path = format!("/v1/model-settings/{}", made["model_id"].as_str().unwrap());
    for agent in ["a", "b"] {
        let refused = run(&api, agent).await;
        assert_eq!(refused.refusal(), (422, "model_unavailable"), "{agent}");
        assert!(refused.text.contains("sim:echo"), "{}", refused.text);
    }
    api.patch(&path, &json!({ "enabled": true })).await.expect(200);
    assert_eq!(run(&api, "a").await.expect(200)["status"], "succeeded");

    // What is said of all of a provider holds for those that nothing is said about.
    let all = json!({ "name": "sim:*", "enabled": false });
    api.post("/v1/model-settings", &all).await.expect(201);
    assert_eq!(run(&api, "b").await.refusal(), (422, "model_unavailable"));
    assert_eq!(run(&api, "a").await.expect(200)["status"], "succeeded");
    assert_eq!(api.delete(&path).await.status, 204);
    assert_eq!(run(&api, "a").await.refusal(), (422, "model_unavailable"));
}

#[tokio::test]
async fn models_are_the_administrators_to_say_and_edited_with_care() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let body = json!({ "name": "house:fast" });
    let member = app.person(&owner.colleague(Role::Member));
    assert_eq!(member.post("/v1/model-settings", &body).await.refusal(), (403, "scope_missing"));

    let reply = api.post("/v1/model-settings", &body).await;
    assert_eq!(reply.header("etag"), Some("\"1\""));
    let made = reply.expect(201);
    let path = format!("/v1/model-settings/{}", made["model_id"].as_str().unwrap());

    assert_eq!(made["api"], "openai");
    assert_eq!(api.post("/v1/model-settings", &body).await.refusal(), (409, "model_name_taken"));
    let stale = api.header("if-match", "\"7\"").patch(&path, &json!({ "enabled": false })).await;
    assert_eq!(stale.refusal(), (412, "precondition_failed"));
    let wrong = api.patch(&path, &json!({ "base_url": "nowhere", "context_window": 0 })).await;
    assert_eq!(wrong.expect(422)["errors"].as_array().unwrap().len(), 2);
    let unknown = app.peers.credential(json!({}));
    app.peers.forget(unknown);
    let refused = api.patch(&path, &json!({ "credential_id": unknown })).await;
    assert_eq!(refused.refusal(), (422, "credential_refused"));
    assert_eq!(api.get(&path).await.expect(200)["version"], 1);
    let page = member.get("/v1/model-settings").await.expect(200);
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_run_under_way_keeps_the_model_it_began_with() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let made = api.post("/v1/runs", &json!({ "agent": "a", "input": "hi" })).await.expect(201);

    let off = json!({ "name": "sim:echo", "enabled": false });
    api.post("/v1/model-settings", &off).await.expect(201);
    let _node = app.node().await;

    scene::until(&api, made["run_id"].as_str().unwrap(), "succeeded").await;
}
