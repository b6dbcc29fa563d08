//! Tools over HTTP, and which agent has which.

use serde_json::{Value, json};
use shared_models::{CredentialId, Role};
use testkit::Api;

use crate::harness::TestApp;

/// A tool that asks for the weather, with a place for a key.
pub(crate) fn weather() -> Value {
    json!({ "name": "weather", "kind": "http", "description": "The weather in a city.",
        "parameters": { "type": "object", "required": ["city"],
            "properties": { "city": { "type": "string" } } },
        "config": { "url": "https://weather.example.com/v1/{city}",
            "credential": { "in": "header", "name": "X-Api-Key" } } })
}

fn path(tool: &Value) -> String {
    format!("/v1/tools/{}", tool["tool_id"].as_str().unwrap())
}

async fn agent(api: &Api, name: &str) -> String {
    let made =
        api.post("/v1/agents", &json!({ "name": name, "model": "sim:demo" })).await.expect(201);
    format!("/v1/agents/{}", made["agent_id"].as_str().unwrap())
}

fn link(agent: &str, tool: &Value) -> String {
    format!("{agent}/tools/{}", tool["tool_id"].as_str().unwrap())
}

#[tokio::test]
async fn a_tool_is_made_edited_and_deleted() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());

    let reply = api.post("/v1/tools", &weather()).await;
    assert_eq!(reply.header("etag"), Some("\"1\""));
    let made = reply.expect(201);
    assert_eq!((&made["effect"], &made["effect_in_force"]), (&Value::Null, &json!("read")));
    assert_eq!((&made["timeout_ms"], &made["config"]["method"]), (&json!(30_000), &json!("GET")));
    let found = api.get(&path(&made)).await;
    assert_eq!(found.header("etag"), Some("\"1\""));
    assert_eq!(found.expect(200), made);

    let patch = json!({ "config": { "method": "POST" } });
    let edited = api.header("if-match", "\"1\"").patch(&path(&made), &patch).await.expect(200);
    assert_eq!((&edited["version"], &edited["effect_in_force"]), (&json!(2), &json!("unsafe")));
    let late = api.header("if-match", "\"1\"").patch(&path(&made), &patch).await;
    assert_eq!(late.refusal(), (412, "precondition_failed"));

    assert_eq!(api.delete(&path(&made)).await.status, 204);
    assert_eq!(api.get(&path(&made)).await.refusal(), (404, "tool_not_found"));
}

#[tokio::test]
async fn what_a_tool_cannot_be_is_refused_field_by_field() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let refused = async |change: Value| {
        let mut tool = weather();
        for (key, value) in change.as_object().unwrap() {
            tool[key] = value.clone();
        }
        let reply = api.post("/v1/tools", &tool).await;
        let errors = reply.expect(422)["errors"].as_array().unwrap().clone();
        errors.iter().map(|e| e["pointer"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };

    assert_eq!(refused(json!({ "name": "a b" })).await, ["/name"]);
    assert_eq!(refused(json!({ "kind": "mcp" })).await, ["/kind"]);
    assert_eq!(
        refused(json!({ "parameters": { "type": "string" } })).await,
        ["/parameters", "/config/url"]
    );
    assert_eq!(refused(json!({ "timeout_ms": 1, "effect": null })).await, ["/timeout_ms"]);
    let config =
        json!({ "url": "https://{city}.example.com/", "headers": { "Authorization": "Bearer x" } });
    assert_eq!(
        refused(json!({ "config": config })).await,
        ["/config/url", "/config/headers/Authorization"]
    );
    assert_eq!(
        refused(json!({ "config": { "url": "https://a.example", "colour": 1 } })).await,
        ["/config/colour"]
    );
}

#[tokio::test]
async fn everybody_sees_a_tool_and_its_owner_edits_it() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let (member, admin) = (owner.colleague(Role::Member), owner.colleague(Role::Admin));
    let other = owner.colleague(Role::Member);
    let made = app.person(&member).post("/v1/tools", &weather()).await.expect(201);
    let patch = json!({ "description": "Rain or shine." });

    app.person(&other).get(&path(&made)).await.expect(200);
    assert_eq!(app.person(&other).patch(&path(&made), &patch).await.refusal(), (403, "not_owner"));
    assert_eq!(app.person(&other).delete(&path(&made)).await.refusal(), (403, "not_owner"));
    app.person(&admin).patch(&path(&made), &patch).await.expect(200);
    let stranger = app.person(&app.trust.owner());
    assert_eq!(stranger.get(&path(&made)).await.refusal(), (404, "tool_not_found"));
    assert_eq!(stranger.get("/v1/tools").await.body["items"], json!([]));
    let again = app.person(&other).post("/v1/tools", &weather()).await;
    assert_eq!(again.refusal(), (409, "tool_name_taken"));
    let found = app.person(&other).get("/v1/tools?q=SHINE").await.expect(200);
    assert_eq!(found["items"][0]["tool_id"], made["tool_id"]);
}

#[tokio::test]
async fn an_agents_tools_are_listed_by_priority_with_its_own_words() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = agent(&api, "a").await;
    let weather = api.post("/v1/tools", &weather()).await.expect(201);
    let news =
        json!({ "name": "news", "kind": "http", "config": { "url": "https://news.example.com/" } });
    let news = api.post("/v1/tools", &news).await.expect(201);

    api.put(&link(&agent, &weather), &json!({ "priority": 5 })).await.expect(200);
    let own = json!({ "priority": 1, "name": "headlines", "description": "Today.",
        "config": { "headers": { "X-Lang": "de" } } });
    let put = api.put(&link(&agent, &news), &own).await.expect(200);
    api.put(&link(&agent, &news), &own).await.expect(200);

    assert_eq!(put["config"], json!({ "headers": { "X-Lang": "de" } }));
    let listed = api.get(&format!("{agent}/tools")).await.expect(200);
    let names: Vec<&str> =
        listed["items"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["headlines", "weather"]);
    assert_eq!(api.delete(&link(&agent, &news)).await.status, 204);
    assert_eq!(api.delete(&link(&agent, &news)).await.refusal(), (404, "tool_not_assigned"));
    assert_eq!(api.delete(&path(&weather)).await.status, 204);
    assert_eq!(api.get(&format!("{agent}/tools")).await.body["items"], json!([]));
}

#[tokio::test]
async fn two_tools_of_one_name_are_too_many_for_an_agent() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = agent(&api, "a").await;
    let weather = api.post("/v1/tools", &weather()).await.expect(201);
    let news =
        json!({ "name": "news", "kind": "http", "config": { "url": "https://news.example.com/" } });
    let news = api.post("/v1/tools", &news).await.expect(201);
    api.put(&link(&agent, &weather), &json!({ "name": "ask" })).await.expect(200);

    let assigned = api.put(&link(&agent, &news), &json!({ "name": "ask" })).await;
    api.put(&link(&agent, &news), &json!({})).await.expect(200);
    let renamed = api.patch(&path(&news), &json!({ "name": "ask" })).await;

    assert_eq!(assigned.refusal(), (409, "duplicate_tool_name"));
    assert_eq!(renamed.refusal(), (409, "duplicate_tool_name"));
}

#[tokio::test]
async fn an_assignment_that_cannot_work_is_refused() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let agent = agent(&api, "a").await;
    let weather = api.post("/v1/tools", &weather()).await.expect(201);
    let open =
        json!({ "name": "open", "kind": "http", "config": { "url": "https://open.example.com/" } });
    let open = api.post("/v1/tools", &open).await.expect(201);
    let credential = app.peers.credential(json!({ "token": "t" }));

    let bad_config =
        api.put(&link(&agent, &weather), &json!({ "config": { "url": "nowhere" } })).await;
    let unknown = api.put(&link(&agent, &weather), &json!({ "config": { "colour": 1 } })).await;
    let no_place = api.put(&link(&agent, &open), &json!({ "credential_id": credential })).await;
    let not_mine =
        api.put(&link(&agent, &weather), &json!({ "credential_id": CredentialId::mint() })).await;
    let stranger =
        app.person(&owner.colleague(Role::Member)).put(&link(&agent, &weather), &json!({})).await;

    assert_eq!(bad_config.body["errors"][0]["pointer"], "/config/url");
    assert_eq!(unknown.body["errors"][0]["pointer"], "/config");
    assert_eq!(no_place.body["errors"][0]["pointer"], "/credential_id");
    assert_eq!(not_mine.refusal(), (422, "credential_refused"));
    assert_eq!(stranger.refusal(), (404, "agent_not_found"));
    assert_eq!(api.get(&format!("{agent}/tools")).await.body["items"], json!([]));
}

#[tokio::test]
async fn a_credential_is_pinned_to_the_hosts_the_tool_had() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = agent(&api, "a").await;
    let tool = api.post("/v1/tools", &weather()).await.expect(201);
    let credential = app.peers.credential(json!({ "token": "t" }));

    let put =
        api.put(&link(&agent, &tool), &json!({ "credential_id": credential })).await.expect(200);
    let moved = json!({ "config": { "url": "https://evil.example.com/{city}" } });
    api.patch(&path(&tool), &moved).await.expect(200);

    assert_eq!(put["credential_hosts"], json!(["weather.example.com"]));
    let listed = api.get(&format!("{agent}/tools")).await.expect(200);
    assert_eq!(listed["items"][0]["credential_hosts"], json!(["weather.example.com"]));
}
