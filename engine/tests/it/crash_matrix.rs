//! Processes that die again and again while runs do everything that runs do: read, pay with a key and without one, ask for
//! approval, wait for an answer from outside and for another run. Whatever a process takes with it, nothing unsafe happens
//! twice, what is unknown is shown, and every run comes to the end it would have come to.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use testkit::{Answer, Api, Person, Stub, eventually_within};

use crate::approvals::{path, yes};
use crate::harness::TestApp;
use crate::scene;

const RUNS: usize = 5;
const DEATHS: i64 = 6;
/// Calls of one run, one after the other.
const CALLS: [&str; 5] = ["look", "charge", "refund", "work", "delegate"];

async fn tool(api: &Api, agent: &str, name: &str, mut fields: Value) {
    fields["name"] = format!("{name}_{}", &agent[agent.len() - 12..]).into();
    let made = api.post("/v1/tools", &fields).await.expect(201);
    let path = format!("/v1/agents/{agent}/tools/{}", made["tool_id"].as_str().unwrap());
    api.put(&path, &json!({ "name": name })).await.expect(200);
}

/// An agent that makes one call of each kind, and the other side of all of them.
async fn begin(api: &Api, n: usize, child: &str) -> (String, Stub) {
    let server = Stub::start(|seen| match seen.path.as_str() {
        "/work" => Answer::Json(202, json!("taken")),
        _ => Answer::Json(200, json!("fine")),
    })
    .await;
    let call = |name: &&str| {
        let arguments = if *name == "delegate" { json!({ "task": "x" }) } else { json!({}) };
        json!({ "tool_calls": [{ "name": name, "arguments": arguments }], "delay_ms": 20 })
    };
    let mut turns: Vec<Value> = CALLS.iter().map(call).collect();
    turns.push(json!({ "text": "done" }));
    let agent = scene::scripted(api, &format!("a{n}"), &turns.into()).await;
    let http = |path: &str, effect: &str| json!({ "kind": "http", "effect": effect, "timeout_ms": 2000, "config": { "method": "POST", "url": format!("{}/{path}", server.url()) } });
    let (mut refund, mut work) = (http("refund", "unsafe"), http("work", "unsafe"));
    refund["approval"] = json!({});
    work["config"]["callback"] = json!({});
    tool(api, &agent, "look", http("look", "read")).await;
    tool(api, &agent, "charge", http("charge", "keyed")).await;
    tool(api, &agent, "refund", refund).await;
    tool(api, &agent, "work", work).await;
    tool(api, &agent, "delegate", json!({ "kind": "agent", "config": { "agent_id": child } }))
        .await;
    (scene::start(api, &agent).await, server)
}

/// Does what the people and the other side do, until the run has ended.
async fn accompany(app: &TestApp, owner: &Person, run: &str, server: &Stub) -> Value {
    let mut called_back = false;
    eventually_within(Duration::from_secs(120), "the run to end", async || {
        // A token lasts for a minute.
        let api = app.person(owner);
        let seen = scene::get(&api, run).await;
        if seen["wait_reason"] == "approval" {
            approve(&api, run).await;
        }
        let taken = server.requests().into_iter().find(|seen| seen.path == "/work");
        if let Some(taken) = taken.filter(|_| !called_back) {
            let path = format!("/v1/callbacks/{}", taken.header("switchyard-callback-token"));
            assert_eq!(app.api.post(&path, &json!({ "result": "worked" })).await.status, 202);
            called_back = true;
        }
        for doubt in seen["in_doubt"].as_array().into_iter().flatten() {
            let made = server.hits(&format!("/{}", doubt["tool_name"].as_str().unwrap())) > 0;
            let outcome = if made { "happened" } else { "did_not_happen" };
            let call = doubt["call_id"].as_str().unwrap();
            let path = format!("/v1/runs/{run}/effects/{call}/answer");
            let reply = api.post(&path, &json!({ "outcome": outcome })).await;
            assert!(matches!(reply.status, 202 | 409), "{}", reply.text);
        }
        seen["finished_at"].is_string().then_some(seen)
    })
    .await
}

async fn approve(api: &Api, run: &str) {
    let list = api.get(&format!("/v1/approvals?status=open&run_id={run}")).await.expect(200);
    for asked in list["items"].as_array().unwrap() {
        let reply = api.post(&path(asked, "/approve"), &yes(asked)).await;
        assert!(matches!(reply.status, 200 | 409), "{}", reply.text);
    }
}

async fn records(app: &TestApp) -> i64 {
    sqlx::query_scalar("select count(*) from engine.journal")
        .fetch_one(&mut app.db.admin().await)
        .await
        .unwrap()
}

async fn all_ended(app: &TestApp) -> bool {
    sqlx::query_scalar(
        "select bool_and(finished_at is not null) from engine.run where parent_run_id is null",
    )
    .fetch_one(&mut app.db.admin().await)
    .await
    .unwrap()
}

#[tokio::test]
async fn whatever_dying_processes_take_with_them_nothing_unsafe_happens_twice_and_all_runs_end_alike()
 {
    let app = TestApp::without_workers().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let child = scene::agent(&api, &json!({ "name": "child", "model": "sim:echo" })).await;
    let mut node = Some(app.node().await);
    let mut runs = Vec::new();
    for n in 0..RUNS {
        runs.push(begin(&api, n, &child).await);
    }

    let dying = async {
        let begun = records(&app).await;
        for death in 1..=DEATHS {
            // At any record of any of them: about a sixth of what they all write lies between two deaths.
            let enough = begun + death * 22;
            let limit = Duration::from_secs(60);
            eventually_within(limit, "more records", async || {
                (all_ended(&app).await || records(&app).await >= enough).then_some(())
            })
            .await;
            if let Some(node) = node.take() {
                node.kill();
            }
            node = Some(app.node().await);
        }
    };
    let ends = join_all(runs.iter().map(|(run, server)| accompany(&app, &owner, run, server)));
    let (ends, ()) = tokio::join!(ends, dying);

    let api = app.person(&owner);
    for ((run, server), ended) in runs.iter().zip(&ends) {
        assert_eq!(
            (&ended["status"], &ended["output"]),
            (&json!("succeeded"), &json!("done")),
            "{ended}"
        );
        for path in ["/refund", "/work"] {
            assert!(server.hits(path) <= 1, "{path} of {run} happened {} times", server.hits(path));
        }
        let charges = server.requests().into_iter().filter(|seen| seen.path == "/charge");
        let keys: BTreeSet<String> =
            charges.map(|seen| seen.header("idempotency-key").to_owned()).collect();
        assert_eq!(keys.len(), 1, "one key for every attempt");
        let kinds = scene::kinds(&app.db, run).await;
        let count = |kind: &str| kinds.iter().filter(|other| *other == kind).count();
        assert_eq!((count("tool_answered"), count("finished")), (CALLS.len(), 1), "{kinds:?}");
        let effects = api.get(&format!("/v1/runs/{run}/effects")).await.expect(200);
        for effect in effects["items"].as_array().unwrap() {
            let state = effect["state"].as_str().unwrap();
            assert!(matches!(state, "done" | "answered"), "{effect}");
        }
        let below = api.get(&format!("/v1/runs/{run}/tree")).await.expect(200);
        assert_eq!(below["children"].as_array().unwrap().len(), 1, "one child for every attempt");
    }
}
