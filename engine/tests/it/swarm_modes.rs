//! What the modes of swarms come to in runs, beside what `swarm_runs` shows of them.

use serde_json::json;

use crate::harness::TestApp;
use crate::scene;
use crate::swarm_runs::{scripted, start};
use crate::swarms::{echo, member, swarm};

#[tokio::test]
async fn saying_nothing_but_a_members_name_hands_over_to_it_if_that_was_declared() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let billing = member(&echo(&api, "billing").await, "billing");
    for (name, handoffs, output) in
        [("front", json!(["billing"]), "go"), ("shy", json!([]), "billing")]
    {
        let mut front = scripted(&api, name, json!([{ "text": "billing" }])).await;
        front["handoffs"] = handoffs;
        let desk = json!({ "name": format!("desk of {name}"), "mode": "handoff", "members": [front, billing] });

        let run = start(&api, &swarm(&api, &desk).await).await;

        assert_eq!(scene::until(&api, &run, "succeeded").await["output"], output, "{name}");
    }
}

#[tokio::test]
async fn members_share_the_steps_of_their_swarm() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let (a, b) = (echo(&api, "a").await, echo(&api, "b").await);
    let s = json!({ "name": "s", "flow": "a >> b", "max_steps": 1, "members": [member(&a, "a"), member(&b, "b")] });

    let run = start(&api, &swarm(&api, &s).await).await;

    let ended = scene::until(&api, &run, "failed").await;
    assert_eq!(
        (&ended["error"]["code"], &ended["steps"]),
        (&json!("too_many_steps"), &json!(1)),
        "{ended}"
    );
}

#[tokio::test]
async fn groups_stand_in_a_flow_and_their_outputs_are_joined_in_order_of_declaration() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let slow = scripted(&api, "slow", json!([{ "text": "slow {{input}}", "delay_ms": 300 }])).await;
    let quick = scripted(&api, "quick", json!([{ "text": "quick {{input}}" }])).await;
    let one = scripted(&api, "one", json!([{ "text": "one" }])).await;
    let two = scripted(&api, "two", json!([{ "text": "two of {{input}}" }])).await;
    let pair =
        json!({ "kind": "parallel", "name": "pair", "members": [slow, quick], "separator": " & " });
    let line = json!({ "kind": "serial", "name": "line", "members": [one, two] });
    let s = json!({ "name": "s", "flow": "line >> pair", "members": [pair, line] });

    let run = start(&api, &swarm(&api, &s).await).await;

    let ended = scene::until(&api, &run, "succeeded").await;
    assert_eq!(ended["output"], "slow two of one & quick two of one");
    assert_eq!(ended["steps"], 4, "summed over all");
}

#[tokio::test]
async fn a_run_of_a_swarm_waits_for_its_tenants_turn_like_any_other() {
    let app = TestApp::start_with(&[
        ("SWITCHYARD_TENANT_RUNS", "1"),
        ("SWITCHYARD_EGRESS_ALLOW", "127.0.0.1"),
    ])
    .await;
    let api = app.person(&app.trust.owner());
    let endless = scripted(&api, "endless", json!([{ "text": "late", "delay_ms": 60_000 }])).await;
    let first = json!({ "name": "first", "members": [endless] });
    let first = start(&api, &swarm(&api, &first).await).await;
    scene::until(&api, &first, "running").await;
    let a = echo(&api, "a").await;
    let second = swarm(&api, &json!({ "name": "second", "members": [member(&a, "a")] })).await;

    let second = start(&api, &second).await;

    assert_eq!(scene::get(&api, &second).await["status"], "queued");
    assert_eq!(api.post(&format!("/v1/runs/{first}/cancel"), &json!({})).await.status, 202);
    scene::until(&api, &first, "cancelled").await;
    assert_eq!(scene::until(&api, &second, "succeeded").await["output"], "go");
}
