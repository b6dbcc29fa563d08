//! Hooks of agents that work in a swarm: each is told of its own agent's points, its end included.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use testkit::{Answer, Api, Stub, eventually};

use crate::harness::TestApp;
use crate::scene;
use crate::swarm_runs::{paths, start, until_at};
use crate::swarms::{member, swarm};

/// An agent that plays these turns and tells `server` of these points; `more` hooks come first.
async fn hooked(
    api: &Api,
    name: &str,
    turns: &Value,
    server: &Stub,
    points: &[&str],
    more: &[Value],
) -> Value {
    let url = format!("{}/hook", server.url());
    let told =
        points.iter().map(|point| json!({ "point": point, "url": url, "timeout_ms": 20_000 }));
    let hooks: Vec<Value> = more.iter().cloned().chain(told).collect();
    let body = json!({ "name": name, "model": "sim:script", "instructions": scene::script(turns), "hooks": hooks });
    member(&scene::agent(api, &body).await, name)
}

/// What a server was told, as `agent point`.
fn heard(server: &Stub) -> Vec<String> {
    let told = |seen: testkit::Stubbed| {
        let told = seen.json();
        format!("{} {}", told["agent"]["name"].as_str().unwrap(), told["point"].as_str().unwrap())
    };
    server.requests().into_iter().map(told).collect()
}

fn says(text: &str) -> Value {
    json!([{ "text": text }])
}

async fn fine() -> Stub {
    Stub::start(|_| Answer::Json(200, json!({}))).await
}

#[tokio::test]
async fn a_members_hooks_are_told_of_its_end_before_the_next_one_begins() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = fine().await;
    let all = ["start", "post_llm_call", "finished", "error"];
    let a = hooked(&api, "a", &says("one"), &server, &all, &[]).await;
    let b = hooked(&api, "b", &says("two of {{input}}"), &server, &all, &[]).await;
    let fails = json!([{ "fail": { "status": 400 } }]);
    let c = hooked(&api, "c", &fails, &server, &all, &[]).await;
    let s = swarm(&api, &json!({ "name": "s", "flow": "a >> b >> c", "members": [a, b, c] })).await;

    let run = start(&api, &s).await;

    let ended = scene::until(&api, &run, "failed").await;
    assert!(ended["error"]["message"].as_str().unwrap().starts_with("`c` failed:"), "{ended}");
    assert_eq!(
        heard(&server),
        [
            "a start",
            "a post_llm_call",
            "a finished",
            "b start",
            "b post_llm_call",
            "b finished",
            "c start",
            "c error"
        ]
    );
}

#[tokio::test]
async fn a_member_that_hands_over_and_a_worker_that_reports_have_ended_too() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = fine().await;
    let ends = ["finished", "error"];
    let passes = json!([{ "tool_calls": [{ "name": "transfer_to_billing", "arguments": {} }] }]);
    let mut triage = hooked(&api, "triage", &passes, &server, &ends, &[]).await;
    triage["handoffs"] = json!(["billing"]);
    let billing = hooked(&api, "billing", &says("paid"), &server, &ends, &[]).await;
    let desk = json!({ "name": "desk", "mode": "handoff", "members": [triage, billing] });
    let run = start(&api, &swarm(&api, &desk).await).await;
    assert_eq!(scene::until(&api, &run, "succeeded").await["output"], "paid");
    assert_eq!(heard(&server), ["triage finished", "billing finished"]);

    let asks = json!([{ "tool_calls": [{ "name": "delegate_to_worker", "arguments": { "task": "t" } }] },
        { "text": "told: {{last_tool_result}}" }]);
    let lead = hooked(&api, "lead", &asks, &server, &ends, &[]).await;
    let fails = json!([{ "fail": { "status": 400 } }]);
    let worker = hooked(&api, "worker", &fails, &server, &ends, &[]).await;
    let team = json!({ "name": "team", "mode": "team", "members": [lead, worker] });
    let run = start(&api, &swarm(&api, &team).await).await;
    let ended = scene::until(&api, &run, "succeeded").await;
    assert!(ended["output"].as_str().unwrap().starts_with("told: `worker` failed"), "{ended}");
    assert_eq!(heard(&server)[2..], ["worker error", "lead finished"]);
}

#[tokio::test]
async fn a_hook_that_does_not_let_a_member_end_well_ends_the_whole_run() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = fine().await;
    let no = |point: &str| json!({ "point": point, "rule": "false", "name": "never", "message": "not good enough" });
    let ends = ["finished", "error"];
    let cases =
        [("finished", "a >> c"), ("post_llm_call", "a >> c"), ("finished", "(a | slow) >> c")];
    for (place, (point, flow)) in cases.into_iter().enumerate() {
        let name = |of: &str| format!("{of}{place}");
        let renamed = |of: Value, name: &str| json!({ "kind": "agent", "agent_id": of["agent_id"], "name": name });
        let a = hooked(&api, &name("a"), &says("one"), &server, &ends, &[no(point)]).await;
        let endless = json!([{ "text": "late", "delay_ms": 60_000 }]);
        let slow = hooked(&api, &name("slow"), &endless, &server, &ends, &[]).await;
        let c = hooked(&api, &name("c"), &says("three"), &server, &["start"], &[]).await;
        let members = [renamed(a, "a"), renamed(slow, "slow"), renamed(c, "c")];
        let s = json!({ "name": name("s"), "flow": flow, "members": members });

        let run = start(&api, &swarm(&api, &s).await).await;

        let ended = scene::until(&api, &run, "failed").await;
        assert_eq!(ended["error"]["code"], "hook_failed", "{ended}");
        assert_eq!(
            ended["error"]["message"],
            format!("`a` failed: the hook `never` at {point} stopped the run: not good enough")
        );
        let began = paths(&app, &run).await.into_iter().any(|(path, _)| path == "c");
        assert!(!began, "nobody goes on after it");
    }
    let told = ["a0 error", "a1 error", "a2 error"];
    assert_eq!(heard(&server), told, "whoever is taken from their work hears nothing");

    let lead = hooked(&api, "lead", &says("alone"), &server, &["error"], &[no("finished")]).await;
    let worker = hooked(&api, "worker", &says("idle"), &server, &[], &[]).await;
    let team = json!({ "name": "team", "mode": "team", "members": [lead, worker] });
    let run = start(&api, &swarm(&api, &team).await).await;
    let ended = scene::until(&api, &run, "failed").await;
    assert_eq!(
        (&ended["error"]["code"], &ended["output"]),
        (&json!("hook_failed"), &json!("alone"))
    );
    assert_eq!(heard(&server)[3..], ["lead error"]);
}

#[tokio::test]
async fn whoever_takes_a_tree_over_tells_the_hooks_that_nobody_has_told() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let open = Arc::new(AtomicBool::new(false));
    let is_open = open.clone();
    let server = Stub::start(move |_| {
        if is_open.load(Ordering::Acquire) { Answer::Json(200, json!({})) } else { Answer::Never }
    })
    .await;
    let a = hooked(&api, "a", &says("one"), &server, &["finished"], &[]).await;
    let b = hooked(&api, "b", &says("two of {{input}}"), &server, &["finished"], &[]).await;
    let s = swarm(&api, &json!({ "name": "s", "flow": "a >> b", "members": [a, b] })).await;
    let run = start(&api, &s).await;
    let node = app.node().await;
    eventually("the hook", async || (!server.requests().is_empty()).then_some(())).await;
    until_at(&app, &run, "a", "model_replied").await;

    node.kill();
    open.store(true, Ordering::Release);
    let _other = app.node().await;

    assert_eq!(scene::until(&api, &run, "succeeded").await["output"], "two of one");
    assert_eq!(heard(&server), ["a finished", "a finished", "b finished"]);
    let seen = server.requests();
    let key = |place: usize| seen[place].header("idempotency-key").to_owned();
    assert!(!key(0).is_empty());
    assert_eq!(key(0), key(1), "the same for every attempt");
}
