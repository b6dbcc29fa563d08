//! Runs of swarms that are done over.

use serde_json::{Value, json};
use testkit::Api;

use crate::forks::{self, fork, id};
use crate::scene;
use crate::swarm_runs::{scripted, start};
use crate::swarms::swarm;

async fn retried(api: &Api, run: &str, body: &Value) -> Value {
    let made = api.post(&format!("/v1/runs/{run}/retry"), body).await.expect(201);
    assert_eq!(made["retry_of"], json!(run));
    scene::until(api, &id(&made), "succeeded").await
}

#[tokio::test]
async fn a_swarms_run_is_done_over_as_the_swarm_is_now_or_in_a_version() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let says = |text: &str| json!([{ "text": text }]);
    let (a, b) = (
        scripted(&api, "a", says("a of {{input}}")).await,
        scripted(&api, "b", says("b of {{input}}")).await,
    );
    let s = swarm(&api, &json!({ "name": "s", "flow": "a >> b", "members": [a, b] })).await;
    let run = start(&api, &s).await;
    let path = format!("/v1/runs/{run}/retry");
    scene::until(&api, &run, "succeeded").await;
    api.patch(&format!("/v1/swarms/{s}"), &json!({ "flow": "b >> a" })).await.expect(200);

    let now = retried(&api, &run, &json!({})).await;
    let then = retried(&api, &run, &json!({ "swarm_version": 1 })).await;

    assert_eq!((&now["output"], &now["swarm_version"]), (&json!("a of b of go"), &json!(2)));
    assert_eq!((&then["output"], &then["swarm_version"]), (&json!("b of a of go"), &json!(1)));
    let links = api.get(&format!("/v1/runs/{run}/links")).await.expect(200);
    assert_eq!(links["retries"], json!([now["run_id"], then["run_id"]]));
    for (body, pointer) in [
        (json!({ "agent_version": 1 }), "/agent_version"),
        (json!({ "deadline_seconds": 0 }), "/deadline_seconds"),
    ] {
        let refused = api.post(&path, &body).await.expect(422);
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{refused}");
    }
    let unknown = api.post(&path, &json!({ "swarm_version": 9 })).await;
    assert_eq!(unknown.refusal(), (404, "swarm_version_not_found"));
    let dry = id(&fork(&api, &run, &json!({})).await);
    scene::until(&api, &dry, "succeeded").await;
    let refused = api.post(&format!("/v1/runs/{dry}/retry"), &json!({})).await;
    assert_eq!(refused.refusal(), (409, "run_not_retryable"), "it would no longer be dry");
    api.patch(&format!("/v1/swarms/{s}"), &json!({ "status": "paused" })).await.expect(200);
    assert_eq!(api.post(&path, &json!({})).await.refusal(), (409, "swarm_not_active"));
    let agent = scene::agent(&api, &json!({ "name": "alone", "model": "sim:echo" })).await;
    let alone = forks::ended(&api, &agent).await;
    let of_agent =
        api.post(&format!("/v1/runs/{alone}/retry"), &json!({ "swarm_version": 1 })).await;
    assert_eq!(of_agent.expect(422)["errors"][0]["pointer"], "/swarm_version");
}
