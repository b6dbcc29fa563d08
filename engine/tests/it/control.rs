//! Stopping many runs, and doing one over.

use serde_json::{Value, json};
use shared_models::Role;
use testkit::{Answer, Stub};

use crate::harness::TestApp;
use crate::scene;

#[tokio::test]
async fn all_runs_that_a_filter_chooses_are_stopped_and_no_others() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let slow = json!([{ "text": "late", "delay_ms": 60_000 }]);
    let stopped = scene::scripted(&api, "stopped", &slow).await;
    let spared = scene::scripted(&api, "spared", &slow).await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(scene::start(&api, &stopped).await);
    }
    let other = scene::start(&api, &spared).await;
    scene::until(&api, &runs[0], "running").await;
    let which = json!({ "agent_id": stopped });

    let colleague = app.person(&owner.colleague(Role::Member));
    let theirs = colleague.post("/v1/runs/cancel", &which).await.expect(202);
    let done = api.post("/v1/runs/cancel", &which).await.expect(202);

    assert_eq!(theirs, json!({ "cancelled": 0, "more": false }), "they see none of them");
    assert_eq!(done, json!({ "cancelled": 3, "more": false }));
    for run in &runs {
        scene::until(&api, run, "cancelled").await;
    }
    assert_eq!(scene::get(&api, &other).await["error"], Value::Null);
    assert_eq!(api.post("/v1/runs/cancel", &which).await.expect(202)["cancelled"], 0);
    assert_eq!(
        api.post("/v1/runs/cancel", &json!({ "since": "2020-01-01T00:00:00Z" })).await.expect(202)
            ["cancelled"],
        1
    );
    for bad in [json!({}), json!({ "status": "failed" }), json!({ "agent_id": "x" })] {
        assert!(matches!(api.post("/v1/runs/cancel", &bad).await.status, 400 | 422), "{bad}");
    }
}

#[tokio::test]
async fn a_retry_is_a_new_run_with_the_same_input_that_knows_whose_it_is() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let agent = scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let body = json!({ "agent_id": agent, "input": "say it again", "wait": 30 });
    let first = api.post("/v1/runs", &body).await.expect(200);
    let id = first["run_id"].as_str().unwrap();
    let path = format!("/v1/runs/{id}/retry");
    let once = api.header("idempotency-key", "again");

    let second = once.post(&path, &json!({})).await.expect(201);
    let repeated = once.post(&path, &json!({})).await.expect(201);
    let ended = scene::until(&api, second["run_id"].as_str().unwrap(), "succeeded").await;

    assert_eq!((&second["retry_of"], &second["run_id"]), (&json!(id), &repeated["run_id"]));
    assert_ne!(second["run_id"], id);
    assert_eq!(ended["output"], first["output"]);
    let links = api.get(&format!("/v1/runs/{id}/links")).await.expect(200);
    assert_eq!((&links["retry_of"], &links["retries"]), (&Value::Null, &json!([second["run_id"]])));
    let links = format!("/v1/runs/{}/links", second["run_id"].as_str().unwrap());
    assert_eq!(api.get(&links).await.expect(200)["retry_of"], id);
    assert_eq!(scene::get(&api, id).await["status"], "succeeded", "the old one stays as it was");

    let refused = api.post(&path, &json!({ "agent_version": 9 })).await;
    assert_eq!(refused.refusal(), (404, "agent_version_not_found"));
    let refused = api.post(&path, &json!({ "deadline_seconds": 0 })).await;
    assert_eq!(refused.refusal(), (422, "validation_failed"));
    let colleague = app.person(&owner.colleague(Role::Member));
    assert_eq!(colleague.post(&path, &json!({})).await.refusal(), (404, "run_not_found"));
    api.patch(&format!("/v1/agents/{agent}"), &json!({ "status": "paused" })).await.expect(200);
    assert_eq!(api.post(&path, &json!({})).await.refusal(), (409, "agent_not_active"));
}

#[tokio::test]
async fn a_run_that_has_not_ended_is_not_done_over() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|_| Answer::Reset).await;
    let agent = scene::scripted(&api, "a", &scene::calls(&["pay"])).await;
    scene::tool(&api, &agent, "pay", &server.url(), "unsafe").await;
    let run = scene::start(&api, &agent).await;
    scene::until(&api, &run, "waiting").await;

    let refused = api.post(&format!("/v1/runs/{run}/retry"), &json!({})).await;

    assert_eq!(refused.refusal(), (409, "run_not_ended"));
    assert_eq!(server.requests().len(), 1);
}
