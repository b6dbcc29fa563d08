//! The tool that lets time pass.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Answer, Api, Stub, eventually};

use crate::harness::TestApp;
use crate::scene;

const WAIT: &str = "wait_a_while";

async fn wait_tool(api: &Api) -> Value {
    let tool = json!({ "name": WAIT, "kind": "builtin", "config": { "builtin": "wait" } });
    api.post("/v1/tools", &tool).await.expect(201)["tool_id"].clone()
}

fn turns(arguments: &Value) -> Value {
    json!([{ "tool_calls": [{ "name": WAIT, "arguments": arguments }] },
        { "text": "told: {{last_tool_result}}" }])
}

/// A run of an agent that waits, and then says what it was told.
async fn start(api: &Api, arguments: &Value, deadline_seconds: u32) -> String {
    let name = format!("a{}", uuid(arguments));
    let agent = scene::scripted(api, &name, &turns(arguments)).await;
    let tools = api.get("/v1/tools").await.expect(200);
    let known =
        tools["items"].as_array().unwrap().iter().find(|tool| tool["name"] == WAIT).cloned();
    let tool = match known {
        Some(tool) => tool["tool_id"].clone(),
        None => wait_tool(api).await,
    };
    let path = format!("/v1/agents/{agent}/tools/{}", tool.as_str().unwrap());
    api.put(&path, &json!({})).await.expect(200);
    let body = json!({ "agent_id": agent, "input": "go", "deadline_seconds": deadline_seconds });
    let made = api.post("/v1/runs", &body).await.expect(201);
    made["run_id"].as_str().unwrap().to_owned()
}

/// A name that no other agent of the test has.
fn uuid(arguments: &Value) -> String {
    hex::encode(arguments.to_string())
}

const OVER: &str = "told: The wait is over.";

#[tokio::test]
async fn a_run_waits_without_a_worker_and_goes_on_by_itself_wherever_it_is_then() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let first = app.node().await;
    let run = start(&api, &json!({ "seconds": 2 }), 60).await;
    let waiting = scene::until(&api, &run, "waiting").await;
    assert_eq!(waiting["wait_reason"], "timer", "{waiting}");
    let (worker, began): (bool, chrono::DateTime<chrono::Utc>) = sqlx::query_as(
        "select worker_id is not null, created_at from engine.run where run_id = $1::uuid",
    )
    .bind(scene::bare(&run))
    .fetch_one(&mut app.db.admin().await)
    .await
    .unwrap();
    assert!(!worker);

    first.kill();
    let _second = app.node().await;

    let ended = scene::until(&api, &run, "succeeded").await;
    assert_eq!(ended["output"], OVER);
    let end: chrono::DateTime<chrono::Utc> =
        ended["finished_at"].as_str().unwrap().parse().unwrap();
    assert!(end - began >= chrono::TimeDelta::seconds(2), "it did not wait: {ended}");
    let kinds = scene::kinds(&app.db, &run).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "waiting").count(), 1, "{kinds:?}");
}

#[tokio::test]
async fn a_moment_that_has_passed_is_not_waited_for() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());

    let run = start(&api, &json!({ "until": "2001-01-01T00:00:00Z" }), 60).await;

    assert_eq!(scene::until(&api, &run, "succeeded").await["output"], OVER);
}

#[tokio::test]
async fn what_cannot_be_waited_for_is_told_to_the_model() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    for (arguments, told) in [
        (json!({}), "say `seconds` or `until`"),
        (json!({ "seconds": 1, "until": "2001-01-01T00:00:00Z" }), "say `seconds` or `until`"),
        (json!({ "until": "soon" }), "`soon` is no moment"),
        (json!({ "until": "2999-01-01T00:00:00Z" }), "more than thirty days"),
        (json!({ "seconds": -1 }), "seconds"),
        (json!({ "seconds": 1e12 }), "seconds"),
    ] {
        let run = start(&api, &arguments, 60).await;

        let ended = scene::until(&api, &run, "succeeded").await;

        assert!(ended["output"].as_str().unwrap().contains(told), "{arguments}: {ended}");
    }
}

#[tokio::test]
async fn a_deadline_ends_a_run_that_waits_for_a_later_moment_and_a_cancel_does() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());

    let late = start(&api, &json!({ "seconds": 3000 }), 1).await;
    let cancelled = start(&api, &json!({ "seconds": 3001 }), 60).await;
    scene::until(&api, &cancelled, "waiting").await;
    api.post(&format!("/v1/runs/{cancelled}/cancel"), &json!({})).await.expect(202);

    assert_eq!(scene::until(&api, &late, "timed_out").await["error"]["code"], "deadline");
    let ended = scene::until(&api, &cancelled, "cancelled").await;
    assert_eq!(
        ended["in_doubt"],
        Value::Null,
        "nothing has happened that could be unknown: {ended}"
    );
}

#[tokio::test]
async fn a_member_of_a_swarm_waits_while_the_others_work() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|_| {
        Answer::After(Duration::from_millis(50), Box::new(Answer::Json(200, json!("fine"))))
    })
    .await;
    let sleeper = scene::scripted(&api, "sleeper", &turns(&json!({ "seconds": 0.5 }))).await;
    let tool = wait_tool(&api).await;
    let path = format!("/v1/agents/{sleeper}/tools/{}", tool.as_str().unwrap());
    api.put(&path, &json!({})).await.expect(200);
    let worker = scene::scripted(&api, "worker", &scene::calls(&["look"])).await;
    scene::tool(&api, &worker, "look", &server.url(), "read").await;
    let body = json!({ "name": "s", "flow": "(sleeper | worker)", "separator": " + ", "members": [
        { "kind": "agent", "agent_id": sleeper, "name": "sleeper" },
        { "kind": "agent", "agent_id": worker, "name": "worker" }] });
    let swarm = api.post("/v1/swarms", &body).await.expect(201)["swarm_id"].clone();

    let made = api.post("/v1/runs", &json!({ "swarm_id": swarm, "input": "go" })).await.expect(201);
    let run = made["run_id"].as_str().unwrap();

    let waited = eventually("the tree to have waited for the moment", async || {
        let seen = scene::get(&api, run).await;
        seen["finished_at"].is_string().then_some(seen)
    })
    .await;
    assert_eq!(waited["output"], "told: The wait is over. + told: \"fine\"", "{waited}");
}
