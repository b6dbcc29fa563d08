//! Runs of swarms: one tree, one journal, whatever happens to the process that drives it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use testkit::{Answer, Api, Stub, eventually};

use crate::harness::TestApp;
use crate::scene;
use crate::swarms::{echo, member, swarm};

pub(crate) async fn scripted(api: &Api, name: &str, turns: Value) -> Value {
    member(&scene::scripted(api, name, &turns).await, name)
}

pub(crate) async fn start(api: &Api, swarm: &str) -> String {
    let made = api.post("/v1/runs", &json!({ "swarm_id": swarm, "input": "go" })).await.expect(201);
    assert_eq!(made["swarm_id"], swarm);
    made["run_id"].as_str().unwrap().to_owned()
}

/// A team whose only worker is a workflow with a parallel stage, one member of which asks `server`.
async fn newsroom(api: &Api, server: &Stub, effect: &str) -> String {
    let research = scripted(api, "research", json!([{ "text": "notes" }])).await;
    let facts = scripted(api, "facts", scene::calls(&["look"])).await;
    // What does harm is in doubt only when its time is over; what does none may take as long as the test does.
    let limit = if effect == "unsafe" { 2000 } else { 60_000 };
    let agent = facts["agent_id"].as_str().unwrap();
    scene::tool_within(api, agent, "look", &server.url(), (effect, limit)).await;
    let style =
        scripted(api, "style", json!([{ "text": "styled {{input}}", "delay_ms": 100 }])).await;
    let desk = json!({ "name": "desk", "mode": "workflow", "flow": "research >> (facts | style)",
        "members": [research, facts, style], "separator": " + " });
    let desk = swarm(api, &desk).await;
    let delegate = json!({ "name": "delegate_to_desk", "arguments": { "task": "ants" } });
    let lead = json!([{ "tool_calls": [delegate] }, { "text": "final: {{last_tool_result}}" }]);
    let lead = scripted(api, "lead", lead).await;
    let newsroom = json!({ "name": "newsroom", "mode": "team",
        "members": [lead, { "kind": "swarm", "swarm_id": desk }] });
    swarm(api, &newsroom).await
}

/// Answers nothing until it is opened.
async fn gate() -> (Stub, Arc<AtomicBool>) {
    let open = Arc::new(AtomicBool::new(false));
    let is_open = open.clone();
    let stub = Stub::start(move |_| {
        if is_open.load(Ordering::Acquire) {
            Answer::Json(200, json!("fine"))
        } else {
            Answer::Never
        }
    });
    (stub.await, open)
}

pub(crate) async fn paths(app: &TestApp, run: &str) -> Vec<(String, String)> {
    sqlx::query_as("select path, kind from engine.journal where run_id = $1::uuid order by seq")
        .bind(scene::bare(run))
        .fetch_all(&mut app.db.admin().await)
        .await
        .unwrap()
}

pub(crate) async fn until_at(app: &TestApp, run: &str, path: &str, kind: &str) {
    eventually(&format!("{kind} at {path}"), async || {
        let is = |(at, what): &(String, String)| at == path && what == kind;
        paths(app, run).await.iter().any(is).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_team_with_a_workflow_in_it_survives_its_process_and_its_stream_replays() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let (server, open) = gate().await;
    let newsroom = newsroom(&api, &server, "read").await;
    let run = start(&api, &newsroom).await;
    let node = app.node().await;
    let (watcher, watched) = (api.clone(), run.clone());
    #[allow(clippy::disallowed_methods, reason = "waited for below")]
    let live = tokio::spawn(async move { scene::stream(&watcher, &watched, 0).await });
    eventually("the call", async || (!server.requests().is_empty()).then_some(())).await;
    until_at(&app, &run, "lead/desk/style", "model_replied").await;

    node.kill();
    open.store(true, Ordering::Release);
    let _other = app.node().await;

    let ended = scene::until(&api, &run, "succeeded").await;
    assert_eq!(ended["output"], "final: told: \"fine\" + styled notes");
    assert_eq!(ended["swarm_name"], "newsroom");
    assert_eq!(ended["steps"], 6, "two of the lead, one of research and style, two of facts");
    let live = scene::records(&live.await.unwrap());
    assert_eq!(live, scene::records(&scene::stream(&api, &run, 0).await));
    let replies = |path: &Value| {
        live.iter()
            .filter(|(_, kind, data)| kind == "model_replied" && data["path"] == *path)
            .count()
    };
    for (path, count) in [
        (json!(["lead"]), 2),
        (json!(["lead", "desk", "research"]), 1),
        (json!(["lead", "desk", "style"]), 1),
        (json!(["lead", "desk", "facts"]), 2),
    ] {
        assert_eq!(replies(&path), count, "{path}");
    }

    let tree = api.get(&format!("/v1/runs/{run}/tree")).await.expect(200);
    let members: Vec<(String, &str)> = tree["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| (m["path"].to_string(), m["status"].as_str().unwrap()))
        .collect();
    let done = |path: &str| (path.to_owned(), "succeeded");
    assert_eq!(
        members,
        [
            done(r#"["lead"]"#),
            done(r#"["lead","desk","research"]"#),
            done(r#"["lead","desk","facts"]"#),
            done(r#"["lead","desk","style"]"#)
        ]
    );
    let said = api.get(&format!("/v1/runs/{run}/messages?path=lead/desk/style")).await.expect(200);
    assert_eq!(said["items"][0]["content"], "notes");
    let nobody = api.get(&format!("/v1/runs/{run}/messages?path=lead/nobody")).await;
    assert_eq!(nobody.refusal(), (404, "member_not_found"));
    let all = api.get(&format!("/v1/runs/{run}/messages")).await.expect(200);
    assert_eq!(all["items"][0]["content"], "go");
}

#[tokio::test]
async fn a_tree_survives_the_death_of_its_worker_at_each_of_its_records() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let slow = |text: &str| json!([{ "text": text, "delay_ms": 40 }]);
    let (a, b, c) = (
        scripted(&api, "a", slow("a")).await,
        scripted(&api, "b", slow("b")).await,
        scripted(&api, "c", slow("c of {{input}}")).await,
    );
    let s = json!({ "name": "s", "flow": "(a | b) >> c", "separator": "+", "members": [a, b, c] });
    let s = swarm(&api, &s).await;

    for records in 2..=9 {
        let run = start(&api, &s).await;
        let first = app.node().await;
        eventually("the journal to go on", async || {
            (scene::kinds(&app.db, &run).await.len() >= records).then_some(())
        })
        .await;
        first.kill();
        let second = app.node().await;

        let ended = scene::until(&api, &run, "succeeded").await;

        assert_eq!(ended["output"], "c of a+b", "killed after {records} records");
        let replies =
            paths(&app, &run).await.into_iter().filter(|(_, kind)| kind == "model_replied");
        let mut replied: Vec<String> = replies.map(|(path, _)| path).collect();
        replied.sort_unstable();
        assert_eq!(replied, ["a", "b", "c"], "killed after {records} records");
        second.kill();
    }
}

#[tokio::test]
async fn control_is_handed_over_with_what_was_said() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let transfer = json!([{ "tool_calls": [{ "name": "transfer_to_billing", "arguments": {} }] }]);
    let mut front = scripted(&api, "front", transfer).await;
    front["handoffs"] = json!(["billing"]);
    let billing = member(&echo(&api, "billing").await, "billing");
    let s =
        swarm(&api, &json!({ "name": "s", "mode": "handoff", "members": [front, billing] })).await;

    let run = start(&api, &s).await;

    assert_eq!(scene::until(&api, &run, "succeeded").await["output"], "go");
    let events = scene::records(&scene::stream(&api, &run, 0).await);
    let (_, _, handed) = events.iter().find(|(_, kind, _)| kind == "handed_over").unwrap();
    assert_eq!((&handed["path"], &handed["data"]["from"]), (&json!(["billing"]), &json!("front")));
}

#[tokio::test]
async fn more_handoffs_than_allowed_end_the_run() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let to = |name: &str| json!([{ "tool_calls": [{ "name": format!("transfer_to_{name}"), "arguments": {} }], "repeat": true }]);
    let (mut ping, mut pong) =
        (scripted(&api, "ping", to("pong")).await, scripted(&api, "pong", to("ping")).await);
    (ping["handoffs"], pong["handoffs"]) = (json!(["pong"]), json!(["ping"]));
    let s = json!({ "name": "s", "mode": "handoff", "max_handoffs": 3, "members": [ping, pong] });
    let s = swarm(&api, &s).await;

    let run = start(&api, &s).await;

    let ended = scene::until(&api, &run, "failed").await;
    assert_eq!(ended["error"]["code"], "too_many_handoffs", "{ended}");
}

#[tokio::test]
async fn a_cancel_stops_every_branch_and_doubts_what_may_have_happened() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let (server, _open) = gate().await;
    let pay = scripted(&api, "pay", scene::calls(&["pay"])).await;
    scene::tool(&api, pay["agent_id"].as_str().unwrap(), "pay", &server.url(), "unsafe").await;
    let think = scripted(&api, "think", json!([{ "text": "hm", "delay_ms": 60000 }])).await;
    let s = json!({ "name": "s", "flow": "(pay | think)", "members": [pay, think] });
    let run = start(&api, &swarm(&api, &s).await).await;
    eventually("the payment", async || (!server.requests().is_empty()).then_some(())).await;
    until_at(&app, &run, "think", "model_called").await;

    assert_eq!(api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await.status, 202);

    let ended = scene::until(&api, &run, "cancelled").await;
    let doubt = &ended["in_doubt"][0];
    assert_eq!((&doubt["path"], &doubt["tool_name"]), (&json!(["pay"]), &json!("pay")));
    let tree = api.get(&format!("/v1/runs/{run}/tree")).await.expect(200);
    let cancelled = |member: &Value| member["status"] == "cancelled";
    assert!(tree["members"].as_array().unwrap().iter().all(cancelled), "{tree}");
}

#[tokio::test]
async fn a_deadline_ends_the_whole_tree() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let slow = json!([{ "text": "late", "delay_ms": 60000 }]);
    let (a, b) = (scripted(&api, "a", slow.clone()).await, scripted(&api, "b", slow).await);
    let s = json!({ "name": "s", "flow": "(a | b)", "members": [a, b], "deadline_seconds": 1 });
    let run = start(&api, &swarm(&api, &s).await).await;

    let ended = scene::until(&api, &run, "timed_out").await;

    assert_eq!(ended["error"]["code"], "deadline");
}

#[tokio::test]
async fn a_doubt_in_one_branch_lets_the_others_go_on_and_is_answered_by_its_path() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let (server, open) = gate().await;
    let newsroom = newsroom(&api, &server, "unsafe").await;
    let run = start(&api, &newsroom).await;
    let node = app.node().await;
    eventually("the call", async || (!server.requests().is_empty()).then_some(())).await;
    node.kill();
    open.store(true, Ordering::Release);

    let _other = app.node().await;

    until_at(&app, &run, "lead/desk/style", "model_replied").await;
    let waiting = eventually("the doubt", async || {
        let run = scene::get(&api, &run).await;
        (run["wait_reason"] == "doubt").then_some(run)
    })
    .await;
    let doubt = &waiting["in_doubt"][0];
    assert_eq!(doubt["path"], json!(["lead", "desk", "facts"]));
    let call = format!("/v1/runs/{run}/effects/{}/answer", doubt["call_id"].as_str().unwrap());
    let answer = json!({ "outcome": "happened", "result": "sent" });
    assert_eq!(api.post(&call, &answer).await.refusal(), (404, "effect_not_found"));
    let answer = json!({ "outcome": "happened", "result": "sent", "path": doubt["path"] });
    assert_eq!(api.post(&call, &answer).await.status, 202);
    let ended = scene::until(&api, &run, "succeeded").await;
    assert_eq!(ended["output"], "final: told: sent + styled notes");
    assert_eq!(server.requests().len(), 1, "never made twice");
}

#[tokio::test]
async fn members_ask_people_at_the_same_time_and_each_gets_its_own_answer() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let asks = json!([{ "tool_calls": [{ "name": "ask", "arguments": { "question": "Well?" } }] },
        { "text": "told {{last_tool_result}}" }]);
    let (a, b) = (scripted(&api, "a", asks.clone()).await, scripted(&api, "b", asks).await);
    let ask = json!({ "name": "ask", "kind": "builtin", "config": { "builtin": "ask_human" } });
    let ask = api.post("/v1/tools", &ask).await.expect(201)["tool_id"].clone();
    let s = json!({ "name": "s", "flow": "(a | b)", "separator": " ", "members": [a, b],
        "defaults": { "tools": [ask] } });
    let run = start(&api, &swarm(&api, &s).await).await;
    assert_eq!(scene::until(&api, &run, "waiting").await["wait_reason"], "input");
    let path = format!("/v1/runs/{run}/input");
    let open = api.get(&path).await.expect(200);
    assert_eq!(open["items"].as_array().unwrap().len(), 2, "{open}");

    let vague = api.post(&path, &json!({ "answer": "x" })).await;
    assert_eq!(vague.status, 422, "{}", vague.text);
    for (place, answer) in [("b", "blue"), ("a", "red")] {
        let answer = json!({ "path": [place], "answer": answer });
        assert_eq!(api.post(&path, &answer).await.status, 202);
    }

    assert_eq!(scene::until(&api, &run, "succeeded").await["output"], "told red told blue");
}

#[tokio::test]
async fn a_swarm_is_a_tool_of_an_agent_in_a_run_of_its_own() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let (a, b) = (echo(&api, "a").await, echo(&api, "b").await);
    let s = json!({ "name": "s", "flow": "(a | b)", "separator": " & ",
        "members": [member(&a, "a"), member(&b, "b")] });
    let s = swarm(&api, &s).await;
    let turns = json!([{ "tool_calls": [{ "name": "both", "arguments": { "task": "hi" } }] },
        { "text": "told: {{last_tool_result}}" }]);
    let lead = scene::scripted(&api, "lead", &turns).await;
    let tool = |config: Value| json!({ "name": "both", "kind": "agent", "config": config });
    for wrong in [json!({}), json!({ "agent_id": a, "swarm_id": s })] {
        assert_eq!(api.post("/v1/tools", &tool(wrong)).await.status, 422);
    }
    let tool = api.post("/v1/tools", &tool(json!({ "swarm_id": s }))).await.expect(201);
    let assign = format!("/v1/agents/{lead}/tools/{}", tool["tool_id"].as_str().unwrap());
    api.put(&assign, &json!({})).await.expect(200);

    let run = scene::start(&api, &lead).await;

    assert_eq!(scene::until(&api, &run, "succeeded").await["output"], "told: hi & hi");
    let tree = api.get(&format!("/v1/runs/{run}/tree")).await.expect(200);
    let below = &tree["children"][0];
    assert_eq!((&below["swarm_id"], &below["status"]), (&json!(s), &json!("succeeded")));
    assert_eq!(below["members"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_member_calls_an_agent_as_a_tool_while_another_goes_on() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let writer =
        scene::scripted(&api, "writer", &json!([{ "text": "a poem", "delay_ms": 200 }])).await;
    let turns = json!([{ "tool_calls": [{ "name": "write", "arguments": { "task": "ants" } }] },
        { "text": "told: {{last_tool_result}}" }]);
    let a = scripted(&api, "a", turns).await;
    let tool = json!({ "name": "write", "kind": "agent", "config": { "agent_id": writer } });
    let tool = api.post("/v1/tools", &tool).await.expect(201);
    let assign = format!(
        "/v1/agents/{}/tools/{}",
        a["agent_id"].as_str().unwrap(),
        tool["tool_id"].as_str().unwrap()
    );
    api.put(&assign, &json!({})).await.expect(200);
    let b = member(&echo(&api, "b").await, "b");
    let s = json!({ "name": "s", "flow": "(a | b)", "separator": " ", "members": [a, b] });
    let run = start(&api, &swarm(&api, &s).await).await;

    assert_eq!(scene::until(&api, &run, "succeeded").await["output"], "told: a poem go");
    let tree = api.get(&format!("/v1/runs/{run}/tree")).await.expect(200);
    assert_eq!(tree["children"][0]["parent_path"], json!(["a"]));
}

#[tokio::test]
async fn a_members_failure_ends_the_swarm_and_names_it() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let fails = json!([{ "fail": { "status": 400 } }]);
    let bad = scripted(&api, "bad", fails).await;
    let slow = scripted(&api, "slow", json!([{ "text": "x", "delay_ms": 60000 }])).await;
    let s = json!({ "name": "s", "flow": "(bad | slow)", "members": [bad, slow] });
    let run = start(&api, &swarm(&api, &s).await).await;

    let ended = scene::until(&api, &run, "failed").await;

    assert!(ended["error"]["message"].as_str().unwrap().starts_with("`bad` failed:"), "{ended}");
}
