//! Grants that nothing uses any more are taken back.

use serde_json::{Value, json};
use testkit::{Api, eventually};

use crate::{harness::TestApp, scene};

const TOOL: &str = "https://example.com/";

async fn tool(api: &Api, name: &str) -> String {
    let fields = json!({ "name": name, "kind": "http",
        "parameters": { "type": "object", "properties": {} },
        "config": { "url": TOOL, "credential": { "in": "bearer" } } });
    let made = api.post("/v1/tools", &fields).await.expect(201);
    made["tool_id"].as_str().unwrap().to_owned()
}

/// Gives an agent a tool, with a credential if there is one.
async fn give(api: &Api, agent: &str, tool: &str, credential: &Value) {
    let body = json!({ "credential_id": credential });
    api.put(&format!("/v1/agents/{agent}/tools/{tool}"), &body).await.expect(200);
}

/// Makes everything that was asked for a moment ago asked for long ago.
async fn later(app: &TestApp) {
    sqlx::query("update engine.agent_grant set asked_at = asked_at - interval '1 hour'")
        .execute(&mut app.db.admin().await)
        .await
        .unwrap();
}

/// Waits until the worker has looked at every grant that is still there.
async fn looked_at(app: &TestApp) {
    let mut admin = app.db.admin().await;
    let now: String =
        sqlx::query_scalar("select clock_timestamp()::text").fetch_one(&mut admin).await.unwrap();
    eventually("the worker to look at every grant", async || {
        let sql =
            "select not exists (select from engine.agent_grant where checked_at < $1::timestamptz)";
        let done: bool = sqlx::query_scalar(sql).bind(&now).fetch_one(&mut admin).await.unwrap();
        done.then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_grant_is_taken_back_when_its_last_use_is_gone() {
    let app = TestApp::start_with(&[("SWITCHYARD_SWEEP_MS", "5")]).await;
    let api = app.person(&app.trust.owner());
    let credential = app.peers.credential(json!({ "token": "t" }));
    let agent = scene::agent(
        &api,
        &json!({ "name": "a", "model": "sim:demo", "model_credential_id": credential }),
    )
    .await;
    let (one, two) = (tool(&api, "one").await, tool(&api, "two").await);
    give(&api, &agent, &one, &json!(credential)).await;
    give(&api, &agent, &two, &json!(credential)).await;
    let path = format!("/internal/grants/agent/{agent}/{credential}");
    let taken = || app.peers.requests(&path).len();
    later(&app).await;

    let (of_agent, of_one) =
        (format!("/v1/agents/{agent}"), format!("/v1/agents/{agent}/tools/{one}"));
    api.delete(&of_one).await.expect(204);
    looked_at(&app).await;
    api.patch(&of_agent, &json!({ "model_credential_id": null })).await.expect(200);
    looked_at(&app).await;
    assert_eq!(taken(), 0, "a tool of the agent still uses it");
    give(&api, &agent, &two, &json!(null)).await;

    eventually("the grant to be taken back", async || (taken() == 1).then_some(())).await;
    // And it can be given again.
    eventually("the end of that", async || {
        let body = json!({ "credential_id": credential });
        let put = api.put(&format!("/v1/agents/{agent}/tools/{two}"), &body).await;
        (put.status == 200).then_some(())
    })
    .await;
    later(&app).await;
    looked_at(&app).await;
    assert_eq!(taken(), 1);
}

#[tokio::test]
async fn what_was_asked_for_a_moment_ago_is_left_alone() {
    let app = TestApp::start_with(&[("SWITCHYARD_SWEEP_MS", "5")]).await;
    let api = app.person(&app.trust.owner());
    let (fresh, old) = (
        app.peers.credential(json!({ "token": "t" })),
        app.peers.credential(json!({ "token": "t" })),
    );
    let agent = scene::agent(&api, &json!({ "name": "a", "model": "sim:demo" })).await;
    let one = tool(&api, "one").await;
    give(&api, &agent, &one, &json!(old)).await;
    later(&app).await;
    give(&api, &agent, &one, &json!(fresh)).await;
    give(&api, &agent, &one, &json!(null)).await;
    let taken = |credential: &str| {
        app.peers.requests(&format!("/internal/grants/agent/{agent}/{credential}")).len()
    };

    eventually("the old one to be taken back", async || {
        (taken(&old.to_string()) == 1).then_some(())
    })
    .await;
    assert_eq!(taken(&fresh.to_string()), 0, "its use may not be saved yet");
}

#[tokio::test]
async fn a_run_under_way_keeps_the_grants_it_began_with() {
    let app = TestApp::start_with(&[("SWITCHYARD_SWEEP_MS", "5")]).await;
    let api = app.person(&app.trust.owner());
    let credential = app.peers.credential(json!({ "token": "t" }));
    let turns = json!([{ "text": "late", "delay_ms": 60_000 }]);
    let agent = scene::scripted(&api, "busy", &turns).await;
    let one = tool(&api, "one").await;
    give(&api, &agent, &one, &json!(credential)).await;
    let run = scene::start(&api, &agent).await;
    scene::until(&api, &run, "running").await;
    let path = format!("/internal/grants/agent/{agent}/{credential}");
    let taken = || app.peers.requests(&path).len();

    api.delete(&format!("/v1/agents/{agent}/tools/{one}")).await.expect(204);
    later(&app).await;
    looked_at(&app).await;
    assert_eq!(taken(), 0);
    api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await.expect(202);

    eventually("the grant to be taken back", async || (taken() == 1).then_some(())).await;
}
