//! What agents were: versions, what differs between them, and bringing one back.

use std::time::Duration;

use serde_json::{Value, json};
use shared_models::Role;
use testkit::{Answer, Api, Stub, eventually};

use crate::harness::TestApp;
use crate::scene;

async fn made(api: &Api, body: &Value) -> String {
    format!("/v1/agents/{}", scene::agent(api, body).await)
}

/// Makes the weather tool and gives the path of an agent's link to it.
async fn weather(api: &Api, agent: &str) -> (String, String) {
    let tool = api.post("/v1/tools", &crate::tools::weather()).await.expect(201);
    let id = tool["tool_id"].as_str().unwrap().to_owned();
    (format!("{agent}/tools/{id}"), id)
}

#[tokio::test]
async fn giving_changing_and_taking_a_tool_are_versions() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let agent = made(&api, &json!({ "name": "a" })).await;
    let (link, tool) = weather(&api, &agent).await;

    api.put(&link, &json!({ "priority": 2 })).await.expect(200);
    api.put(&link, &json!({ "priority": 2 })).await.expect(200);
    api.put(&link, &json!({ "name": "sky" })).await.expect(200);
    assert_eq!(api.delete(&link).await.status, 204);

    let versions = api.get(&format!("{agent}/versions")).await.expect(200);
    let told: Vec<(i64, &str, usize)> = versions["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| {
            let tools = v["tools"].as_array().unwrap().len();
            (v["version"].as_i64().unwrap(), v["change"].as_str().unwrap(), tools)
        })
        .collect();
    assert_eq!(told, [(4, "tools", 0), (3, "tools", 1), (2, "tools", 1), (1, "created", 0)]);
    let third = &versions["items"][1]["tools"][0];
    assert_eq!(
        (&third["tool_id"], &third["tool_name"], &third["name"], &third["priority"]),
        (&json!(tool), &json!("weather"), &json!("sky"), &json!(0))
    );
    assert_eq!(api.get(&agent).await.header("etag"), Some("\"4\""));
}

#[tokio::test]
async fn two_versions_are_compared_place_by_place() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = made(&api, &json!({ "name": "a", "tags": ["x"] })).await;
    let (link, tool) = weather(&api, &agent).await;
    api.put(&link, &json!({})).await.expect(200);
    let patch =
        json!({ "temperature": 0.5, "limits": { "deadline_seconds": 60 }, "tags": ["x", "y"] });
    api.patch(&agent, &patch).await.expect(200);
    api.put(&link, &json!({ "priority": 7 })).await.expect(200);

    let edit = api.get(&format!("{agent}/versions/3/diff")).await.expect(200);
    let all = api.get(&format!("{agent}/versions/4/diff?against=2")).await.expect(200);
    let none = api.get(&format!("{agent}/versions/1/diff?against=1")).await.expect(200);

    let fields = json!([
        { "pointer": "/limits/deadline_seconds", "from": null, "to": 60 },
        { "pointer": "/tags", "from": ["x"], "to": ["x", "y"] },
        { "pointer": "/temperature", "from": 1.0, "to": 0.5 },
    ]);
    assert_eq!((&edit["from"], &edit["to"], &edit["changes"]), (&json!(2), &json!(3), &fields));
    let priority = json!({ "pointer": format!("/tools/{tool}/priority"), "from": 0, "to": 7 });
    let mut expected = fields.as_array().unwrap().clone();
    expected.push(priority);
    assert_eq!(all["changes"], json!(expected));
    assert_eq!(none["changes"], json!([]));
    let missing = api.get(&format!("{agent}/versions/4/diff?against=9")).await;
    assert_eq!(missing.refusal(), (404, "agent_version_not_found"));
}

#[tokio::test]
async fn an_earlier_version_comes_back_with_its_tools_and_says_what_is_gone() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let credential = app.peers.credential(json!({ "token": "t" }));
    let agent = made(&api, &json!({ "name": "a", "instructions": "Old." })).await;
    let (link, _) = weather(&api, &agent).await;
    let assigned = json!({ "credential_id": credential, "priority": 3 });
    let before = api.put(&link, &assigned).await.expect(200);
    let mut second = crate::tools::weather();
    second["name"] = json!("doomed");
    let second = api.post("/v1/tools", &second).await.expect(201);
    let doomed = second["tool_id"].as_str().unwrap();
    api.put(&format!("{agent}/tools/{doomed}"), &json!({})).await.expect(200);
    api.delete(&link).await;
    api.delete(&format!("/v1/tools/{doomed}")).await;
    api.patch(&agent, &json!({ "instructions": "New.", "status": "paused" })).await.expect(200);

    let stale = api
        .header("if-match", "\"1\"")
        .post(&format!("{agent}/versions/3/restore"), &json!({}))
        .await;
    let restored = api.post(&format!("{agent}/versions/3/restore"), &json!({})).await.expect(200);

    assert_eq!(stale.refusal(), (412, "precondition_failed"));
    assert_eq!(
        (&restored["version"], &restored["instructions"], &restored["status"]),
        (&json!(7), &json!("Old."), &json!("active"))
    );
    assert_eq!(restored["tools_left_out"], json!(["doomed"]));
    let tools = api.get(&format!("{agent}/tools")).await.expect(200);
    let back = &tools["items"][0];
    for field in ["tool_id", "priority", "credential_id", "credential_hosts"] {
        assert_eq!(back[field], before[field], "{field}");
    }
    let newest = api.get(&format!("{agent}/versions/7")).await.expect(200);
    assert_eq!(newest["change"], "restored");

    // A credential that has gone meanwhile cannot be used again.
    api.delete(&link).await;
    app.peers.forget(credential);
    let refused = api.post(&format!("{agent}/versions/7/restore"), &json!({})).await;
    assert_eq!(refused.refusal(), (422, "credential_refused"));
}

#[tokio::test]
async fn bringing_a_version_back_shares_nothing_that_its_owner_does_not_share_now() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let mate = owner.teammate(Role::Member);
    let api = app.person(&owner);
    let agent = made(&api, &json!({ "name": "a", "scope": "user" })).await;
    api.patch(&agent, &json!({ "scope": "team" })).await.expect(200);

    let by_mate = app
        .person(&mate)
        .post(&format!("{agent}/versions/1/restore"), &json!({}))
        .await
        .expect(200);
    assert_eq!(by_mate["scope"], "team");
    let by_owner = api.post(&format!("{agent}/versions/1/restore"), &json!({})).await.expect(200);
    assert_eq!(by_owner["scope"], "user");
}

#[tokio::test]
async fn only_an_active_agent_starts_runs() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = made(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let start = json!({ "agent": "a", "input": "x", "wait": 30 });

    for status in ["inactive", "paused", "archived"] {
        api.patch(&agent, &json!({ "status": status })).await.expect(200);
        let refused = api.post("/v1/runs", &start).await;
        assert_eq!(refused.refusal(), (409, "agent_not_active"), "{status}");
        assert!(refused.text.contains(status), "{}", refused.text);
    }
    api.patch(&agent, &json!({ "status": "active" })).await.expect(200);
    assert_eq!(api.post("/v1/runs", &start).await.expect(200)["status"], "succeeded");
}

#[tokio::test]
async fn agents_are_found_by_what_they_are() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let mate = owner.teammate(Role::Member);
    let api = app.person(&owner);
    made(&api, &json!({ "name": "one", "tags": ["billing", "eu"], "agent_type": "data_analyst" }))
        .await;
    made(&api, &json!({ "name": "two", "scope": "team", "tags": ["eu-west"] })).await;
    made(&app.person(&mate), &json!({ "name": "three", "scope": "team" })).await;
    let list = async |query: &str| {
        let page = api.get(&format!("/v1/agents?{query}")).await.expect(200);
        let items = page["items"].as_array().unwrap().iter();
        items.map(|item| item["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };

    assert_eq!(list("tag=eu").await, ["one"]);
    assert_eq!(list("q=EU").await, ["two", "one"]);
    assert_eq!(list("agent_type=data_analyst").await, ["one"]);
    assert_eq!(list(&format!("owner={}", mate.user)).await, ["three"]);
    assert_eq!(list(&format!("team={}", owner.teams[0])).await, ["three", "two"]);
    assert_eq!(list(&format!("team={}&owner={}", owner.teams[0], owner.user)).await, ["two"]);
}

#[tokio::test]
async fn a_persona_is_said_before_the_instructions_while_it_is_in_force() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let body = json!({ "name": "a", "instructions": "Be brief.", "use_custom_persona": true,
        "custom_persona_prompt": "You are a pirate.", "output_schema": { "type": "object" },
        "budget": { "max_cost_micro_usd": 500_000 } });
    let agent = made(&api, &body).await;

    let described = api.get(&format!("{agent}/describe")).await.expect(200);
    api.patch(&agent, &json!({ "use_custom_persona": false })).await.expect(200);
    let plain = api.get(&format!("{agent}/describe")).await.expect(200);

    assert_eq!(described["instructions"], "You are a pirate.\n\nBe brief.");
    assert_eq!(described["output_schema"], json!({ "type": "object" }));
    assert_eq!(plain["instructions"], "Be brief.");
    let kept = api.get(&agent).await.expect(200);
    assert_eq!(kept["budget"]["max_cost_micro_usd"], 500_000);
}

#[tokio::test]
async fn the_end_of_an_agent_is_told_to_the_other_services() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = made(&api, &json!({ "name": "a" })).await;

    assert_eq!(api.delete(&agent).await.status, 204);

    let told: Vec<(String, Value)> =
        sqlx::query_as("select subject, envelope -> 'data' from engine.outbox")
            .fetch_all(&mut app.db.admin().await)
            .await
            .unwrap();
    let [(subject, data)] = told.as_slice() else { panic!("{told:?}") };
    assert!(subject.ends_with(".agent.deleted.v1"), "{subject}");
    assert_eq!(data["name"], "a");
    assert!(agent.ends_with(data["agent_id"].as_str().unwrap()));
}

#[tokio::test]
async fn what_resumes_after_a_crash_is_what_started_whatever_was_edited_meanwhile() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let slow =
        Answer::After(Duration::from_millis(300), Box::new(Answer::Json(200, json!("fine"))));
    let server = Stub::start(move |_| slow.clone()).await;
    let wrong = Stub::start(|_| Answer::Json(200, json!("wrong"))).await;
    let id = scene::scripted(&api, "a", &scene::calls(&["look", "look_again"])).await;
    for name in ["look", "look_again"] {
        scene::tool(&api, &id, name, &server.url(), "read").await;
    }
    let agent = format!("/v1/agents/{id}");
    let before = api.get(&agent).await.expect(200);
    let first = app.node().await;
    let run = scene::start(&api, &id).await;
    eventually("the call", async || (!server.requests().is_empty()).then_some(())).await;

    let edit = json!({ "model": "sim:echo", "instructions": "Something else.", "max_steps": 1,
        "status": "archived", "fallback_model": "sim:demo" });
    api.patch(&agent, &edit).await.expect(200);
    for tool in api.get(&format!("{agent}/tools")).await.expect(200)["items"].as_array().unwrap() {
        let tool = tool["tool_id"].as_str().unwrap();
        let elsewhere = json!({ "config": { "url": wrong.url() }, "effect": "unsafe" });
        api.patch(&format!("/v1/tools/{tool}"), &elsewhere).await.expect(200);
        assert_eq!(api.delete(&format!("/v1/tools/{tool}")).await.status, 204);
    }
    assert_eq!(api.delete(&agent).await.status, 204);
    first.kill();
    let _second = app.node().await;

    let ended = scene::until(&api, &run, "succeeded").await;
    assert_eq!(ended["output"], "told: \"fine\"");
    assert_eq!((&ended["steps"], &ended["agent_version"]), (&json!(3), &before["version"]));
    assert_eq!(wrong.requests().len(), 0);
}

#[tokio::test]
async fn a_tool_that_is_gone_leaves_a_version_of_each_agent_that_had_it() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let (a, b) =
        (made(&api, &json!({ "name": "a" })).await, made(&api, &json!({ "name": "b" })).await);
    let (link, tool) = weather(&api, &a).await;
    api.put(&link, &json!({})).await.expect(200);

    assert_eq!(api.delete(&format!("/v1/tools/{tool}")).await.status, 204);

    let versions = api.get(&format!("{a}/versions")).await.expect(200);
    let newest = &versions["items"][0];
    assert_eq!(
        (&newest["version"], &newest["change"], &newest["tools"], &newest["changed_by"]),
        (&json!(3), &json!("tools"), &json!([]), &json!(owner.user))
    );
    assert_eq!(api.get(&b).await.expect(200)["version"], 1, "it never had it");
}
