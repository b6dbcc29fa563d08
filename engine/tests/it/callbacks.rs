//! Calls that the other side takes and answers later.

use serde_json::{Value, json};
use testkit::{Answer, Api, Stub, eventually};

use crate::harness::TestApp;
use crate::pausing::{calls, gated_by, swept};
use crate::scene;

/// A server that takes every call.
async fn takes() -> Stub {
    Stub::start(|_| Answer::Json(202, json!("taken"))).await
}

/// An agent with one tool, whose other side may answer later.
async fn agent(api: &Api, name: &str, url: &str, effect: &str) -> String {
    let agent = scene::scripted(api, name, &scene::calls(&["work"])).await;
    let fields = json!({ "name": format!("work_{name}"), "kind": "http", "effect": effect, "timeout_ms": 20_000,
        "parameters": { "type": "object", "properties": { "n": {} } },
        "config": { "method": "POST", "url": url, "callback": {} } });
    let made = api.post("/v1/tools", &fields).await.expect(201);
    let path = format!("/v1/agents/{agent}/tools/{}", made["tool_id"].as_str().unwrap());
    api.put(&path, &json!({ "name": "work" })).await.expect(200);
    agent
}

async fn waiting(api: &Api, run: &str) -> Value {
    let waiting = scene::until(api, run, "waiting").await;
    assert_eq!(waiting["wait_reason"], "callback", "{waiting}");
    waiting
}

fn path(server: &Stub) -> String {
    let seen = server.requests();
    let token = seen.last().unwrap().header("switchyard-callback-token").to_owned();
    assert!(token.starts_with("cbk_"), "{token}");
    format!("/v1/callbacks/{token}")
}

#[tokio::test]
async fn a_call_that_was_taken_waits_for_its_answer_and_holds_no_worker() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = takes().await;
    let agent = agent(&api, "a", &server.url(), "unsafe").await;
    let run = scene::start(&api, &agent).await;
    waiting(&api, &run).await;
    let path = path(&server);

    for (bad, status) in [
        (json!({}), 422),
        (json!({ "result": "a\u{0}b" }), 422),
        (json!({ "result": "x".repeat(262_145) }), 422),
    ] {
        assert_eq!(app.api.post(&path, &bad).await.status, status);
    }
    let unknown = app.api.post("/v1/callbacks/cbk_x", &json!({ "result": 1 })).await;
    assert_eq!(unknown.refusal(), (404, "callback_not_found"));
    assert_eq!(
        app.api.post(&path, &json!({ "result": { "receipt": 7 } })).await.status,
        202,
        "the token is enough"
    );

    let ended = scene::until(&api, &run, "succeeded").await;
    assert_eq!(ended["output"], "told: {\"receipt\":7}");
    assert_eq!(server.requests().len(), 1);
    let again = app.api.post(&path, &json!({ "result": 8 })).await;
    assert_eq!(again.refusal(), (409, "callback_closed"));
    let effects = api.get(&format!("/v1/runs/{run}/effects")).await.expect(200);
    assert_eq!(effects["items"][0]["state"], "done");
}

#[tokio::test]
async fn an_answer_that_says_it_did_not_work_is_an_error_for_the_model() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = takes().await;
    let agent = agent(&api, "a", &server.url(), "unsafe").await;
    let run = scene::start(&api, &agent).await;
    waiting(&api, &run).await;

    let back = json!({ "result": "out of stock", "error": true });
    assert_eq!(app.api.post(&path(&server), &back).await.status, 202);

    assert_eq!(scene::until(&api, &run, "succeeded").await["output"], "told: out of stock");
    let effects = api.get(&format!("/v1/runs/{run}/effects")).await.expect(200);
    assert_eq!(effects["items"][0]["state"], "failed");
}

#[tokio::test]
async fn an_answer_at_once_is_one_and_leaves_no_token_behind() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|_| Answer::Json(200, json!("fine"))).await;
    let agent = agent(&api, "a", &server.url(), "unsafe").await;
    let run = scene::start(&api, &agent).await;

    assert_eq!(scene::until(&api, &run, "succeeded").await["output"], "told: \"fine\"");

    let late = app.api.post(&path(&server), &json!({ "result": 1 })).await;
    assert_eq!(late.refusal(), (404, "callback_not_found"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_before_the_call_was_taken_is_not_lost() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let (server, gate) = gated_by(0, || Answer::Json(202, json!("taken"))).await;
    let agent = agent(&api, "a", &server.url(), "unsafe").await;
    let run = scene::start(&api, &agent).await;
    calls(&server, 1).await;

    assert_eq!(app.api.post(&path(&server), &json!({ "result": "quick" })).await.status, 202);
    gate.0.open();

    assert_eq!(scene::until(&api, &run, "succeeded").await["output"], "told: quick");
}

async fn expire(app: &TestApp) {
    sqlx::query("update engine.callback set expires_at = now() - interval '1 second'")
        .execute(&mut app.db.admin().await)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_made_again_has_all_its_time_again() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let (server, gate) = gated_by(0, || Answer::Json(202, json!("taken"))).await;
    let agent = agent(&api, "a", &server.url(), "read").await;
    let node = app.node().await;
    let run = scene::start(&api, &agent).await;
    calls(&server, 1).await;
    node.kill();
    sqlx::query(
        "update engine.callback set expires_at = now() - interval '1 second', expired_at = now()",
    )
    .execute(&mut app.db.admin().await)
    .await
    .unwrap();
    gate.0.open();

    let _node = app.node().await;
    calls(&server, 2).await;
    waiting(&api, &run).await;

    assert_eq!(app.api.post(&path(&server), &json!({ "result": "now" })).await.status, 202);
    assert_eq!(scene::until(&api, &run, "succeeded").await["output"], "told: now");
}

#[tokio::test]
async fn a_call_that_is_made_again_just_as_its_time_is_found_to_be_over_has_all_its_time() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = takes().await;
    let agent = agent(&api, "a", &server.url(), "read").await;
    let run = scene::start(&api, &agent).await;
    waiting(&api, &run).await;
    let mut holder = app.db.admin().await;
    sqlx::query("begin").execute(&mut holder).await.unwrap();
    scene::lock(&mut holder, &run).await;
    expire(&app).await;
    scene::somebody_waits_for(&app.db, scene::pid(&mut holder).await).await;

    // As whoever makes it again does.
    sqlx::query("update engine.callback set expires_at = now() + interval '1 hour'")
        .execute(&mut app.db.admin().await)
        .await
        .unwrap();
    sqlx::query("commit").execute(&mut holder).await.unwrap();
    swept(&app).await;

    assert_eq!(app.api.post(&path(&server), &json!({ "result": "now" })).await.status, 202);
    assert_eq!(scene::until(&api, &run, "succeeded").await["output"], "told: now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_one_whatever_the_next_attempt_is_told() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let (server, gate) =
        gated_by(0, || Answer::Json(409, json!("you have asked that before"))).await;
    let agent = agent(&api, "a", &server.url(), "keyed").await;
    let run = scene::start(&api, &agent).await;
    calls(&server, 1).await;

    assert_eq!(app.api.post(&path(&server), &json!({ "result": "it is done" })).await.status, 202);
    gate.0.open();

    assert_eq!(scene::until(&api, &run, "succeeded").await["output"], "told: it is done");
}

#[tokio::test]
async fn an_unsafe_call_that_nobody_answers_in_time_is_in_doubt_and_a_read_has_failed() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = takes().await;
    let agent_of = async |effect: &str| {
        let agent = agent(&api, effect, &server.url(), effect).await;
        let run = scene::start(&api, &agent).await;
        waiting(&api, &run).await;
        run
    };
    let (pays, looks) = (agent_of("unsafe").await, agent_of("read").await);

    expire(&app).await;

    let ended = scene::until(&api, &looks, "succeeded").await;
    assert!(ended["output"].as_str().unwrap().contains("did not say in time"), "{ended}");
    let doubt = eventually("the doubt", async || {
        let run = scene::get(&api, &pays).await;
        (run["wait_reason"] == "doubt").then_some(run)
    })
    .await;
    assert_eq!(doubt["in_doubt"][0]["tool_name"], "work");
    let late = app.api.post(&path(&server), &json!({ "result": 1 })).await;
    assert_eq!(late.refusal(), (409, "callback_closed"));
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn an_answer_finds_its_call_after_the_process_has_died_that_made_it() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let server = takes().await;
    let agent = agent(&api, "a", &server.url(), "unsafe").await;
    let node = app.node().await;
    let run = scene::start(&api, &agent).await;
    waiting(&api, &run).await;
    node.kill();
    assert_eq!(app.api.post(&path(&server), &json!({ "result": "late" })).await.status, 202);

    let _node = app.node().await;

    assert_eq!(scene::until(&api, &run, "succeeded").await["output"], "told: late");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_settles_the_doubt_about_a_call_whose_process_died_before_it_was_taken() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let (server, _gate) = gated_by(0, || Answer::Json(202, json!("taken"))).await;
    let agent = agent(&api, "a", &server.url(), "unsafe").await;
    let node = app.node().await;
    let run = scene::start(&api, &agent).await;
    calls(&server, 1).await;
    node.kill();
    let _node = app.node().await;

    assert_eq!(
        app.api.post(&path(&server), &json!({ "result": "it went well" })).await.status,
        202
    );

    assert_eq!(scene::until(&api, &run, "succeeded").await["output"], "told: it went well");
    assert_eq!(server.requests().len(), 1, "it was not made again");
}

#[tokio::test]
async fn what_was_taken_is_in_doubt_when_its_run_is_cancelled() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = takes().await;
    let agent = agent(&api, "a", &server.url(), "unsafe").await;
    let run = scene::start(&api, &agent).await;
    waiting(&api, &run).await;

    api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await.expect(202);
    let ended = scene::until(&api, &run, "cancelled").await;

    assert_eq!(ended["in_doubt"][0]["tool_name"], "work", "{ended}");
    let late = app.api.post(&path(&server), &json!({ "result": 1 })).await;
    assert_eq!(late.refusal(), (409, "callback_closed"));
}

#[tokio::test]
async fn the_members_of_a_swarm_each_hear_their_own_answer() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let mut members = Vec::new();
    let servers = [takes().await, takes().await];
    for (name, server) in ["a", "b"].into_iter().zip(&servers) {
        let agent = agent(&api, name, &server.url(), "unsafe").await;
        members.push(json!({ "kind": "agent", "agent_id": agent, "name": name }));
    }
    let swarm = json!({ "name": "s", "flow": "(a | b)", "separator": " ", "members": members });
    let swarm = api.post("/v1/swarms", &swarm).await.expect(201);
    let body = json!({ "swarm_id": swarm["swarm_id"], "input": "go" });
    let made = api.post("/v1/runs", &body).await.expect(201);
    let run = made["run_id"].as_str().unwrap();
    waiting(&api, run).await;

    for (server, said) in servers.iter().zip(["one", "two"]).rev() {
        assert_eq!(app.api.post(&path(server), &json!({ "result": said })).await.status, 202);
    }

    assert_eq!(scene::until(&api, run, "succeeded").await["output"], "told: one told: two");
}
