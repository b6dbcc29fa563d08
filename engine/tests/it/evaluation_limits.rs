//! What evaluations may take of a tenant, and what the world outside hears of them.

use serde_json::{Value, json};
use testkit::{Answer, Stub};

use crate::cases::case;
use crate::evaluations::{evaluate, states, tried};
use crate::harness::TestApp;
use crate::probes::steady;
use crate::scene;
use crate::webhooks::endpoint;

/// Evaluations stay where they are until another process comes.
const STILL: [(&str, &str); 3] = [
    ("SWITCHYARD_EGRESS_ALLOW", "127.0.0.1"),
    ("SWITCHYARD_RUN_SLOTS", "0"),
    ("SWITCHYARD_SWEEP_MS", "3600000"),
];

#[tokio::test]
async fn hooks_and_endpoints_hear_of_no_case_that_is_tried_with_recorded_answers() {
    let app = steady().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|_| Answer::Json(200, json!("fine"))).await;
    let hook =
        json!({ "point": "finished", "url": format!("{}/told", server.url()), "timeout_ms": 5000 });
    let turns = scene::script(&json!([{ "text": "x" }]));
    let body =
        json!({ "name": "a", "model": "sim:script", "instructions": turns, "hooks": [hook] });
    let agent = scene::agent(&api, &body).await;
    case(&api, &agent, &json!({ "name": "n", "input": "go" })).await;
    endpoint(&api, &server.url(), &["run.finished"]).await;

    let recorded = tried(&api, &agent, &json!({ "mode": "recorded" })).await;
    assert_eq!((states(&recorded), server.hits("/told")), (vec!["passed"], 0));
    let live = tried(&api, &agent, &json!({ "mode": "live" })).await;
    assert_eq!((states(&live), server.hits("/told")), (vec!["passed"], 1));
    let run = scene::start(&api, &agent).await;
    scene::until(&api, &run, "succeeded").await;

    // Events come in order: once this one is told, the others would have been.
    testkit::eventually("the run to be told", async || (server.hits("/hook") > 0).then_some(()))
        .await;
    let told: Vec<Value> = server
        .requests()
        .iter()
        .filter(|request| request.path == "/hook")
        .map(|request| request.json()["data"]["run_id"].clone())
        .collect();
    assert_eq!(told, [json!(run)]);
}

#[tokio::test]
async fn a_run_of_an_evaluation_is_not_done_over_and_forked_dry_only() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = scene::scripted(&api, "a", &json!([{ "text": "x" }])).await;
    case(&api, &agent, &json!({ "name": "n", "input": "go" })).await;
    let report = tried(&api, &agent, &json!({})).await;
    let run = format!("/v1/runs/{}", report["results"][0]["run_id"].as_str().unwrap());

    let retried = api.post(&format!("{run}/retry"), &json!({})).await;
    let from = json!({ "step": 1 });
    let live = api.post(&format!("{run}/fork"), &json!({ "from": from, "mode": "live" })).await;
    let dry = api.post(&format!("{run}/fork"), &json!({ "from": from, "mode": "dry" })).await;

    assert_eq!(retried.refusal(), (409, "run_not_retryable"));
    assert_eq!(live.refusal(), (409, "run_not_forkable"));
    let dry = dry.expect(201);
    scene::until(&api, dry["run_id"].as_str().unwrap(), "succeeded").await;
}

#[tokio::test]
async fn an_agents_cases_together_are_no_longer_than_they_may_be() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = scene::scripted(&api, "a", &json!([{ "text": "x" }])).await;
    let cases = format!("/v1/agents/{agent}/cases");
    case(&api, &agent, &json!({ "name": "long", "input": "x".repeat(1000) })).await;
    let small = case(&api, &agent, &json!({ "name": "small", "input": "x" })).await;
    let listed = api.get(&cases).await.expect(200);
    assert!(listed["items"][1]["bytes"].as_i64() > Some(1000), "{listed}");
    assert_eq!(listed["items"][0]["answers"], Value::Null, "a list has what is short");
    let almost = 16 * 1024 * 1024 - 1000;
    sqlx::query("update engine.agent_case set bytes = $1 where name = 'long'")
        .bind(almost)
        .execute(&mut app.db.admin().await)
        .await
        .unwrap();

    let longer = json!({ "name": "more", "input": "x".repeat(1000) });
    let refused = api.post(&cases, &longer).await;
    assert_eq!(refused.refusal(), (409, "cases_too_long"));
    let refused = api.patch(&format!("{cases}/{small}"), &longer).await;
    assert_eq!(refused.refusal(), (409, "cases_too_long"));
    api.patch(&format!("{cases}/{small}"), &json!({ "input": "xx" })).await.expect(200);
}

#[tokio::test]
async fn a_tenant_has_no_more_evaluations_under_way_than_it_may() {
    let app = TestApp::start_with(&STILL).await;
    let (api, others) = (app.person(&app.trust.owner()), app.person(&app.trust.owner()));
    let agent = scene::scripted(&api, "a", &json!([{ "text": "x" }])).await;
    case(&api, &agent, &json!({ "name": "n", "input": "go" })).await;
    let mut first = String::new();
    for _ in 0..20 {
        first = evaluate(&api, &agent, &json!({})).await;
    }

    let refused = api.post(&format!("/v1/agents/{agent}/evaluate"), &json!({})).await;

    assert_eq!(refused.refusal(), (429, "evaluations_full"));
    let theirs = scene::scripted(&others, "a", &json!([{ "text": "x" }])).await;
    case(&others, &theirs, &json!({ "name": "n", "input": "go" })).await;
    evaluate(&others, &theirs, &json!({})).await;
    api.post(&format!("/v1/evaluations/{first}/cancel"), &json!({})).await.expect(200);
    evaluate(&api, &agent, &json!({})).await;
}

#[tokio::test]
async fn a_case_that_can_never_be_begun_is_given_up_and_holds_up_no_other() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = scene::scripted(&api, "a", &json!([{ "text": "x" }])).await;
    for name in ["broken", "whole"] {
        case(&api, &agent, &json!({ "name": name, "input": "go" })).await;
    }
    let broken =
        "update engine.agent_case set definition = '{\"expectations\":[]}' where name = 'broken'";
    sqlx::query(broken).execute(&mut app.db.admin().await).await.unwrap();

    let report = tried(&api, &agent, &json!({ "concurrency": 1, "deadline_seconds": 5 })).await;

    // A busy machine may not be done with the other one in its time.
    assert_eq!(states(&report)[0], "error", "{report:#}");
    assert_ne!(report["results"][1]["run_id"], Value::Null, "{report:#}");
    let why = report["results"][0]["error"].as_str().unwrap();
    assert!(why.contains("could not be moved on"), "{why}");
}
