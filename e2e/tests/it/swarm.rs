//! A swarm within a swarm, over the public address: watched live, its engine killed in the middle, and read again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use e2e::{Event, Fleet, follow, follow_from, script};
use serde_json::{Value, json};
use shared_models::Service;
use testkit::{Answer, Api, Stub, eventually_within};

const LONG: Duration = Duration::from_secs(60);

async fn made(api: &Api, path: &str, body: &Value, id: &str) -> Value {
    api.post(path, body).await.expect(201)[id].clone()
}

fn new_agent(name: &str, turns: &Value) -> Value {
    let agent = json!({ "name": name, "model": "sim:script", "instructions": script(turns) });
    json!({ "kind": "new_agent", "name": name, "agent": agent })
}

/// A team whose only worker is a workflow with a parallel stage, one member of which asks `outside`.
async fn newsroom(api: &Api, outside: &Stub) -> Value {
    let calls = json!([{ "tool_calls": [{ "name": "look", "arguments": {} }] }, { "text": "told {{last_tool_result}}" }]);
    let facts = json!({ "name": "facts", "model": "sim:script", "instructions": script(&calls) });
    let facts = made(api, "/v1/agents", &facts, "agent_id").await;
    let tool = json!({ "name": "look", "kind": "http", "effect": "read", "timeout_ms": 60_000,
        "parameters": { "type": "object", "properties": {} },
        "config": { "method": "GET", "url": format!("{}/look", outside.url()) } });
    let tool = made(api, "/v1/tools", &tool, "tool_id").await;
    let link = format!("/v1/agents/{}/tools/{}", facts.as_str().unwrap(), tool.as_str().unwrap());
    api.put(&link, &json!({})).await.expect(200);
    let desk = json!({ "name": "desk", "mode": "workflow", "flow": "research >> (facts | style)", "separator": " + ",
        "members": [new_agent("research", &json!([{ "text": "notes" }])),
            { "kind": "agent", "agent_id": facts, "name": "facts" },
            new_agent("style", &json!([{ "text": "styled {{input}}" }]))] });
    let desk = made(api, "/v1/swarms", &desk, "swarm_id").await;
    let delegates = json!([
        { "tool_calls": [{ "name": "delegate_to_desk", "arguments": { "task": "ants" } }] },
        { "text": "final: {{last_tool_result}}" }]);
    let newsroom = json!({ "name": "newsroom", "mode": "team",
        "members": [new_agent("lead", &delegates), { "kind": "swarm", "swarm_id": desk, "name": "desk" }] });
    made(api, "/v1/swarms", &newsroom, "swarm_id").await
}

/// Every durable event to the end of the run, going on from the last one whenever the connection ends.
async fn watch(url: &str, key: &str, run: &str) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    eventually_within(LONG, "the end of the stream", async || {
        let last = all.last().map(|event| event.id);
        let (events, status) = follow_from(url, key, run, last, usize::MAX).await;
        all.extend(events);
        (status == 204).then_some(())
    })
    .await;
    all
}

/// Waits until a member of the tree has this status.
async fn until_member(api: &Api, run: &str, path: &Value, status: &str) {
    eventually_within(LONG, "a member's status", async || {
        let tree = api.get(&format!("/v1/runs/{run}/tree")).await.expect(200);
        let is = |member: &Value| member["path"] == *path && member["status"] == status;
        tree["members"].as_array().is_some_and(|all| all.iter().any(is)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swarm_survives_kill_9_and_its_stream_from_the_start_is_the_one_that_was_watched() {
    let open = Arc::new(AtomicBool::new(false));
    let is_open = open.clone();
    let outside = Stub::start(move |_| {
        if is_open.load(Ordering::Acquire) {
            Answer::Json(200, json!("fine"))
        } else {
            Answer::Never
        }
    })
    .await;
    let allow = format!("127.0.0.1:{}", outside.port());
    let vars =
        [("SWITCHYARD_EGRESS_ALLOW", allow.as_str()), ("SWITCHYARD_WORKER_LEASE_MS", "2000")];
    let mut fleet = Fleet::start(&vars).await;
    let (api, url, key) = (fleet.api(), fleet.url(), fleet.key.clone());
    let swarm = newsroom(&api, &outside).await;
    let run = made(&api, "/v1/runs", &json!({ "swarm_id": swarm, "input": "go" }), "run_id").await;
    let run = run.as_str().unwrap();

    let (live, ()) = tokio::join!(watch(&url, &key, run), async {
        eventually_within(LONG, "the call", async || (outside.hits("/look") > 0).then_some(()))
            .await;
        until_member(&api, run, &json!(["lead", "desk", "style"]), "succeeded").await;
        fleet.kill("engine");
        open.store(true, Ordering::Release);
        fleet.restart(Service::Engine).await;
    });

    let ended = api.get(&format!("/v1/runs/{run}")).await.expect(200);
    assert_eq!(
        (&ended["status"], &ended["output"]),
        (&json!("succeeded"), &json!("final: told \"fine\" + styled notes")),
        "{ended}"
    );
    assert_eq!(outside.hits("/look"), 2, "what only reads is asked again");
    assert_eq!(live, follow(&url, &key, run).await);
    let ids: Vec<u64> = live.iter().map(|event| event.id).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
    assert!(live.iter().any(|event| event.name == "resumed"), "{live:?}");
    let mut replies: BTreeMap<String, usize> = BTreeMap::new();
    for event in live.iter().filter(|event| event.name == "model_replied") {
        *replies.entry(event.data["path"].to_string()).or_default() += 1;
    }
    let expected = [
        (r#"["lead","desk","facts"]"#, 2),
        (r#"["lead","desk","research"]"#, 1),
        (r#"["lead","desk","style"]"#, 1),
        (r#"["lead"]"#, 2),
    ];
    assert_eq!(replies, expected.map(|(path, count)| (path.to_owned(), count)).into());
}
