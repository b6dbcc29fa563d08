//! Stopping runs: by a person, by a deadline.

use serde_json::json;
use testkit::{Answer, Stub, eventually};

use crate::harness::TestApp;
use crate::scene;

#[tokio::test]
async fn a_cancel_ends_a_model_call_under_way() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = scene::scripted(&api, "a", &json!([{ "text": "late", "delay_ms": 60_000 }])).await;
    let run = scene::start(&api, &agent).await;
    scene::until(&api, &run, "running").await;

    api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await.expect(202);
    let ended = scene::until(&api, &run, "cancelled").await;

    assert_eq!(ended["error"]["code"], "cancelled");
    let again = api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await;
    assert_eq!(again.refusal(), (409, "run_ended"));
}

#[tokio::test]
async fn a_cancelled_unsafe_call_stays_visible_as_in_doubt_until_somebody_answers() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|_| Answer::Never).await;
    let agent = scene::scripted(&api, "a", &scene::calls(&["pay"])).await;
    scene::tool(&api, &agent, "pay", &server.url(), "unsafe").await;
    let run = scene::start(&api, &agent).await;
    eventually("the call", async || (!server.requests().is_empty()).then_some(())).await;

    api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await.expect(202);
    let ended = scene::until(&api, &run, "cancelled").await;

    assert_eq!(ended["in_doubt"][0]["tool_name"], "pay", "{ended}");
    let call = ended["in_doubt"][0]["call_id"].as_str().unwrap();
    let path = format!("/v1/runs/{run}/effects/{call}/answer");
    assert_eq!(api.post(&path, &json!({ "outcome": "happened" })).await.status, 202);
    let effects = api.get(&format!("/v1/runs/{run}/effects")).await.expect(200);
    assert_eq!(effects["items"][0]["state"], "answered");
    let again = api.post(&path, &json!({ "outcome": "happened" })).await;
    assert_eq!(again.refusal(), (409, "effect_not_in_doubt"));
}

#[tokio::test]
async fn a_run_ends_at_its_deadline() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = scene::scripted(&api, "a", &json!([{ "text": "late", "delay_ms": 60_000 }])).await;

    let body = json!({ "agent_id": agent, "input": "x", "deadline_seconds": 1, "wait": 30 });
    let run = api.post("/v1/runs", &body).await.expect(200);

    assert_eq!((&run["status"], &run["error"]["code"]), (&json!("timed_out"), &json!("deadline")));
}

#[tokio::test]
async fn a_cancel_is_heard_by_a_process_that_is_stopping() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let agent = scene::scripted(&api, "a", &json!([{ "text": "late", "delay_ms": 60_000 }])).await;
    let node = app.node().await;
    let run = scene::start(&api, &agent).await;
    // A stopping process hands over what it has not begun; this one it has.
    eventually("the model call", async || {
        scene::kinds(&app.db, &run).await.contains(&"model_called".to_owned()).then_some(())
    })
    .await;

    let cancel = async {
        api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await.expect(202);
        scene::until(&api, &run, "cancelled").await;
    };
    // The model would have answered after a minute, long after this gives up.
    tokio::join!(node.drain(), cancel);
}

#[tokio::test]
async fn a_cancel_ends_all_at_once_that_a_run_and_those_below_it_are_at() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    // Nobody here would answer within the time a test has.
    let server = Stub::start(|_| Answer::Never).await;
    let thinker =
        scene::scripted(&api, "b", &json!([{ "text": "late", "delay_ms": 600_000 }])).await;
    let caller = scene::scripted(&api, "c", &scene::calls(&["look"])).await;
    scene::tool_within(&api, &caller, "look", &server.url(), ("read", 300_000)).await;
    let calls = json!([
        { "name": "think", "arguments": { "task": "x" } },
        { "name": "call", "arguments": { "task": "x" } },
        { "name": "fetch", "arguments": {} },
    ]);
    let lead =
        scene::scripted(&api, "lead", &json!([{ "tool_calls": calls }, { "text": "told" }])).await;
    for (name, agent) in [("think", &thinker), ("call", &caller)] {
        let tool = json!({ "name": name, "kind": "agent", "config": { "agent_id": agent } });
        let made = api.post("/v1/tools", &tool).await.expect(201);
        let path = format!("/v1/agents/{lead}/tools/{}", made["tool_id"].as_str().unwrap());
        api.put(&path, &json!({})).await.expect(200);
    }
    scene::tool_within(&api, &lead, "fetch", &server.url(), ("read", 300_000)).await;
    let run = scene::start(&api, &lead).await;
    eventually("everybody to be at work", async || {
        let thinking: i64 = sqlx::query_scalar(
            "select count(*) from engine.journal j join engine.run r using (run_id)
             where r.parent_run_id is not null and j.kind = 'model_called'",
        )
        .fetch_one(&mut app.db.admin().await)
        .await
        .unwrap();
        (thinking == 2 && server.requests().len() == 2).then_some(())
    })
    .await;

    api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await.expect(202);

    scene::until(&api, &run, "cancelled").await;
    let tree = eventually("those below to end", async || {
        let tree = api.get(&format!("/v1/runs/{run}/tree")).await.expect(200);
        let children = tree["children"].as_array().unwrap();
        children.iter().all(|child| child["finished_at"].is_string()).then_some(tree)
    })
    .await;
    let children = tree["children"].as_array().unwrap();
    assert_eq!(children.len(), 2);
    assert!(children.iter().all(|child| child["status"] == "cancelled"), "{tree}");
    // What was being asked is asked no more: the far end has lost both connections.
    eventually("the connections to end", async || (server.open() == 0).then_some(())).await;
}
