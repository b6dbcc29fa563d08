//! An account that has to be connected again, from the run that notices to the run that has gone on.

use e2e::{Connector, Fleet, script};
use serde_json::{Value, json};
use std::time::Duration;
use testkit::{Answer, Api, Idp, Stub, eventually_within};

/// An agent whose one tool sends the credential's access token.
async fn agent(api: &Api, outside: &Stub, credential: &str) -> String {
    let tool = json!({
        "name": "post", "description": "Posts.", "kind": "http", "effect": "unsafe", "timeout_ms": 5000,
        "parameters": { "type": "object", "properties": {} },
        "config": { "method": "POST", "url": format!("{}/post", outside.url()), "credential": { "in": "bearer" } },
    });
    let tool =
        api.post("/v1/tools", &tool).await.expect(201)["tool_id"].as_str().unwrap().to_owned();
    let turns =
        json!([{ "tool_calls": [{ "name": "post", "arguments": {} }] }, { "text": "posted" }]);
    let agent = json!({ "name": "poster", "model": "sim:script", "instructions": script(&turns) });
    let agent =
        api.post("/v1/agents", &agent).await.expect(201)["agent_id"].as_str().unwrap().to_owned();
    let link = json!({ "credential_id": credential });
    api.put(&format!("/v1/agents/{agent}/tools/{tool}"), &link).await.expect(200);
    agent
}

async fn until(api: &Api, run: &str, status: &str) -> Value {
    let path = format!("/v1/runs/{run}");
    eventually_within(Duration::from_secs(60), &format!("the run to be {status}"), async || {
        let run = api.get(&path).await.body;
        (run["status"] == status).then_some(run)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_waits_for_an_account_that_broke_and_goes_on_when_it_is_connected_again() {
    let (idp, outside) =
        (Idp::start().await, Stub::start(|_| Answer::Json(200, json!({ "ok": true }))).await);
    // Every lease has to renew the token first.
    idp.set_expires_in(5);
    let fleet = Fleet::start(&[("SWITCHYARD_EGRESS_ALLOW", "127.0.0.1")]).await;
    let api = fleet.api();
    let connector = Connector::register(&api, &fleet.url(), &idp).await;
    let credential = connector.connect(&json!({})).await;
    let agent = agent(&api, &outside, &credential).await;

    // Somebody takes the app away at the provider.
    idp.forget_everybody();
    let start = json!({ "agent_id": agent, "input": "go" });
    let run = api.post("/v1/runs", &start).await.expect(201)["run_id"].as_str().unwrap().to_owned();
    let waiting = until(&api, &run, "waiting").await;

    assert_eq!(waiting["wait_reason"], "auth", "{waiting}");
    assert_eq!(waiting["waits_for"][0]["credential_id"], json!(credential));
    let why = waiting["waits_for"][0]["reason"].as_str().unwrap();
    assert!(why.contains("connected again"), "{why}");
    assert_eq!(outside.hits("/post"), 0);
    idp.set_expires_in(3600);
    let again = connector.connect(&json!({ "credential_id": credential })).await;
    assert_eq!(again, credential);
    let done = until(&api, &run, "succeeded").await;

    assert_eq!((&done["output"], &done["waits_for"]), (&json!("posted"), &Value::Null));
    assert_eq!(outside.hits("/post"), 1, "the tool was called once");
    let sent = format!("Bearer {}", idp.newest());
    assert_eq!(outside.requests()[0].header("authorization"), sent);
}
