//! Dry runs: what becomes of calls that nobody has made before, through crashes, and of the runs they are forks of.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Answer, Api, Stub, eventually};

use crate::forks::{self, ended, fork, id, journal, paying, reference};
use crate::harness::TestApp;
use crate::scene;

/// The same agent, but it pays another sum.
fn pays_more() -> String {
    let call = |name: &str, n: i32| json!({ "name": name, "arguments": { "n": n } });
    scene::script(&json!([
        { "tool_calls": [call("look", 1)] },
        { "tool_calls": [call("pay", 7)] },
        { "text": "told: {{last_tool_result}}" },
    ]))
}

fn changed(unmatched: &str) -> Value {
    json!({ "edits": { "instructions": pays_more() }, "unmatched": unmatched })
}

async fn kinds(app: &TestApp, run: &str, kind: &str) -> Vec<Value> {
    let records = journal(&app.db, run).await.into_iter();
    records.filter(|(_, other, _)| other == kind).map(|(_, _, data)| data).collect()
}

#[tokio::test]
async fn a_call_with_other_arguments_is_refused_when_that_was_asked_for() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let (agent, server) = reference(&api).await;
    let run = ended(&api, &agent).await;
    let made = server.requests().len();

    let forked = id(&fork(&api, &run, &changed("refuse")).await);

    let ended = scene::until(&api, &forked, "succeeded").await;
    assert!(ended["output"].as_str().unwrap().contains("without a recorded answer"), "{ended}");
    assert_eq!(server.requests().len(), made);
    assert_eq!(kinds(&app, &forked, "tool_replayed").await.len(), 1);
    assert_eq!(kinds(&app, &forked, "tool_unmatched").await[0]["then"], "refuse");
}

/// A dry run that asks about a call, and the question.
async fn asks(api: &Api, run: &str) -> (String, Value) {
    let forked = id(&fork(api, run, &changed("ask")).await);
    let waiting = scene::until(api, &forked, "waiting").await;
    assert_eq!((&waiting["wait_reason"], &waiting["mode"]), (&json!("input"), &json!("dry")));
    let open = api.get(&format!("/v1/runs/{forked}/input")).await.expect(200);
    assert_eq!(open["items"].as_array().unwrap().len(), 1, "{open}");
    (forked, open["items"][0].clone())
}

async fn answer(api: &Api, run: &str, answer: Value) {
    let reply = api.post(&format!("/v1/runs/{run}/input"), &json!({ "answer": answer })).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
}

#[tokio::test]
async fn people_give_the_answer_to_a_call_with_other_arguments_or_refuse_it_or_let_it_through() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let (agent, server) = reference(&api).await;
    let run = ended(&api, &agent).await;
    let made = server.requests().len();

    let (forked, question) = asks(&api, &run).await;
    let text = question["question"].as_str().unwrap();
    assert!(text.contains("`pay`") && text.contains(r#"{"n":7}"#), "{text}");
    let bad = api
        .post(&format!("/v1/runs/{forked}/input"), &json!({ "answer": { "decision": "maybe" } }))
        .await;
    assert_eq!(bad.expect(422)["errors"][0]["pointer"], "/answer");
    answer(&api, &forked, json!({ "decision": "result", "result": { "paid": 7 } })).await;
    let told = scene::until(&api, &forked, "succeeded").await;
    assert_eq!(told["output"], r#"told: {"paid":7}"#);

    let (forked, _) = asks(&api, &run).await;
    answer(&api, &forked, json!({ "decision": "refuse", "reason": "too much" })).await;
    let told = scene::until(&api, &forked, "succeeded").await;
    assert!(told["output"].as_str().unwrap().ends_with(": too much"), "{told}");
    assert_eq!(server.requests().len(), made, "nothing was called");
    assert_eq!(kinds(&app, &forked, "unmatched_decided").await[0]["decision"], "refuse");

    let (forked, _) = asks(&api, &run).await;
    answer(&api, &forked, json!({ "decision": "live" })).await;
    let told = scene::until(&api, &forked, "succeeded").await;
    assert_eq!(told["output"], "told: \"/pay is fine\"");
    assert_eq!(server.requests().len(), made + 1, "this one was");
    assert_eq!(server.requests().last().unwrap().json()["n"], 7);
}

#[tokio::test]
async fn a_call_with_other_arguments_is_made_when_that_was_asked_for_and_the_agent_has_the_tool_still()
 {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let (agent, server) = reference(&api).await;
    let run = ended(&api, &agent).await;
    let made = server.requests().len();

    let forked = id(&fork(&api, &run, &changed("live")).await);
    let told = scene::until(&api, &forked, "succeeded").await;
    assert_eq!(
        (told["output"].as_str(), server.requests().len()),
        (Some("told: \"/pay is fine\""), made + 1)
    );
    let effects = api.get(&format!("/v1/runs/{forked}/effects")).await.expect(200);
    assert_eq!(effects["items"].as_array().unwrap().len(), 1, "{effects}");

    let tools = api.get(&format!("/v1/agents/{agent}/tools")).await.expect(200);
    let pay = tools["items"].as_array().unwrap().iter().find(|tool| tool["name"] == "pay").unwrap();
    let path = format!("/v1/agents/{agent}/tools/{}", pay["tool_id"].as_str().unwrap());
    assert_eq!(api.delete(&path).await.status, 204);
    let forked = id(&fork(&api, &run, &changed("live")).await);
    let told = scene::until(&api, &forked, "succeeded").await;
    assert!(told["output"].as_str().unwrap().contains("no longer has the tool"), "{told}");
    let forked = id(&fork(&api, &run, &json!({})).await);
    let told = scene::until(&api, &forked, "succeeded").await;
    assert_eq!(told["output"], "told: \"/pay is fine\"", "what was recorded is there all the same");
    assert_eq!(server.requests().len(), made + 1);
}

#[tokio::test]
async fn a_dry_run_asks_nobody_for_approval_uses_no_credential_and_starts_no_run() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|_| Answer::Json(200, json!("paid"))).await;
    let child = scene::agent(&api, &json!({ "name": "child", "model": "sim:echo" })).await;
    let turns = json!([
        { "tool_calls": [{ "name": "pay", "arguments": {} }, { "name": "delegate", "arguments": { "task": "x" } }] },
        { "text": "told: {{last_tool_result}}" },
    ]);
    let agent = scene::scripted(&api, "a", &turns).await;
    let credential = app.peers.credential(json!({ "token": "t0p-secret" }));
    let pay = json!({ "name": "pay", "kind": "http", "effect": "unsafe", "approval": {},
        "parameters": { "type": "object" },
        "config": { "method": "POST", "url": server.url(), "credential": { "in": "bearer" } } });
    let delegate = json!({ "name": "delegate", "kind": "agent", "config": { "agent_id": child } });
    for (tool, assigned) in [(pay, json!({ "credential_id": credential })), (delegate, json!({}))] {
        let made = api.post("/v1/tools", &tool).await.expect(201);
        let path = format!("/v1/agents/{agent}/tools/{}", made["tool_id"].as_str().unwrap());
        api.put(&path, &assigned).await.expect(200);
    }
    let run = scene::start(&api, &agent).await;
    let asked = crate::approvals::asked(&api, &run).await;
    let path = crate::approvals::path(&asked, "/approve");
    api.post(&path, &crate::approvals::yes(&asked)).await.expect(200);
    scene::until(&api, &run, "succeeded").await;
    let resolved = format!("/internal/credentials/{credential}/resolve");
    let (paid, shown) = (server.requests().len(), app.peers.requests(&resolved).len());
    assert_eq!((paid, shown > 0), (1, true));

    let forked = id(&fork(&api, &run, &json!({ "unmatched": "refuse" })).await);

    let ended = scene::until(&api, &forked, "succeeded").await;
    assert_eq!(ended["output"], "told: x");
    assert_eq!((server.requests().len(), app.peers.requests(&resolved).len()), (paid, shown));
    let list = api.get(&format!("/v1/approvals?run_id={forked}")).await.expect(200);
    assert_eq!(list["items"], json!([]));
    let tree = api.get(&format!("/v1/runs/{forked}/tree")).await.expect(200);
    assert_eq!((&tree["children"], &tree["mode"]), (&json!([]), &json!("dry")));
    assert_eq!(kinds(&app, &forked, "tool_replayed").await.len(), 2);
}

#[tokio::test]
async fn a_fork_in_the_middle_of_a_round_makes_the_open_calls_and_no_others() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let (agent, server) = reference(&api).await;
    let run = ended(&api, &agent).await;
    let records = journal(&app.db, &run).await;
    // The first answer of the round of three.
    let (seq, _, answered) =
        records.iter().filter(|(_, kind, _)| kind == "tool_answered").nth(1).unwrap();
    let made = server.requests().len();

    let dry = id(&fork(&api, &run, &json!({ "from": { "seq": seq } })).await);
    scene::until(&api, &dry, "succeeded").await;
    assert_eq!(server.requests().len(), made);
    assert_eq!(kinds(&app, &dry, "tool_replayed").await.len(), 3, "two of the round, and the last");
    let live = json!({ "from": { "seq": seq }, "mode": "live", "repeat_open_calls": true });
    let live = id(&fork(&api, &run, &live).await);
    scene::until(&api, &live, "succeeded").await;

    assert_eq!(server.requests().len(), made + 3);
    let intended = kinds(&app, &live, "tool_intended").await;
    let again = intended.iter().filter(|call| call["call_id"] == answered["call_id"]).count();
    assert_eq!(again, 1, "once, by the run it was forked of");
    let keys: std::collections::BTreeSet<&str> =
        intended.iter().map(|call| call["idempotency_key"].as_str().unwrap()).collect();
    assert_eq!(keys.len(), 5, "calls of another run have other keys");
}

#[tokio::test]
async fn a_dry_run_whose_process_dies_is_dry_in_the_next_one() {
    let app = TestApp::without_workers().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let (agent, server) = paying(&api, "idempotent").await;
    let node = app.node().await;
    let run = ended(&api, &agent).await;
    let made = server.requests().len();
    let (asking, _) = asks(&api, &run).await;
    let pauses = json!([
        { "tool_calls": [{ "name": "look", "arguments": { "n": 1 } }] },
        { "tool_calls": [{ "name": "pay", "arguments": { "n": 1 } }], "delay_ms": 300 },
        { "text": "told: {{last_tool_result}}" },
    ]);
    let slow = json!({ "edits": { "instructions": scene::script(&pauses) } });
    let slow = id(&fork(&api, &run, &slow).await);
    eventually("the first answer", async || {
        (!kinds(&app, &slow, "tool_replayed").await.is_empty()).then_some(())
    })
    .await;

    node.kill();
    let _other = app.node().await;
    // A token lasts for a minute.
    let api = app.person(&owner);

    let ended = scene::until(&api, &slow, "succeeded").await;
    assert_eq!(
        (&ended["mode"], &ended["output"]),
        (&json!("dry"), &json!("told: \"/pay is fine\""))
    );
    assert_eq!(kinds(&app, &slow, "tool_replayed").await.len(), 2, "each call once");
    answer(&api, &asking, json!({ "decision": "result", "result": "given" })).await;
    assert_eq!(scene::until(&api, &asking, "succeeded").await["output"], "told: given");
    assert_eq!(server.requests().len(), made);
}

#[tokio::test]
async fn a_run_that_is_under_way_or_waits_is_forked_as_far_as_it_has_come() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let server =
        Stub::start(|_| Answer::After(Duration::from_millis(1), Box::new(Answer::Reset))).await;
    let agent = scene::scripted(&api, "a", &scene::calls(&["pay"])).await;
    scene::tool(&api, &agent, "pay", &server.url(), "unsafe").await;
    let run = scene::start(&api, &agent).await;
    let doubt = scene::until(&api, &run, "waiting").await;
    assert_eq!(doubt["wait_reason"], "doubt");
    let call = doubt["in_doubt"][0]["call_id"].clone();
    let last = journal(&app.db, &run).await.last().unwrap().0;

    let asking = fork(&api, &run, &json!({ "from": { "seq": last } })).await;
    let refusing = fork(&api, &run, &json!({ "unmatched": "refuse" })).await;
    let told = json!({ "edits": { "tool_results": [{ "call_id": call, "content": "paid" }] } });
    let told = fork(&api, &run, &told).await;

    let waiting = scene::until(&api, &id(&asking), "waiting").await;
    assert_eq!((&waiting["wait_reason"], &waiting["in_doubt"]), (&json!("input"), &Value::Null));
    let ended = scene::until(&api, &id(&refusing), "succeeded").await;
    assert!(ended["output"].as_str().unwrap().contains("without a recorded answer"), "{ended}");
    assert_eq!(scene::until(&api, &id(&told), "succeeded").await["output"], "told: paid");
    assert_eq!(server.requests().len(), 1, "by the first run");
    assert_eq!(scene::get(&api, &run).await["wait_reason"], "doubt", "it stays as it was");
    assert_eq!(api.post(&format!("/v1/runs/{}/cancel", id(&asking)), &json!({})).await.status, 202);
    scene::until(&api, &id(&asking), "cancelled").await;
}

#[tokio::test]
async fn hooks_that_are_told_by_http_hear_nothing_of_a_dry_run_and_so_it_makes_no_call() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let (agent, server) = reference(&api).await;
    let hook = json!({ "point": "pre_tool_call", "url": format!("{}/hook", server.url()) });
    api.patch(&format!("/v1/agents/{agent}"), &json!({ "hooks": [hook] })).await.expect(200);
    let run = ended(&api, &agent).await;
    let (made, told) = (server.requests().len(), server.hits("/hook"));
    assert_eq!(told, 5, "once for each call");

    let same = id(&fork(&api, &run, &json!({})).await);
    scene::until(&api, &same, "succeeded").await;
    let other = id(&fork(&api, &run, &changed("live")).await);
    let ended = scene::until(&api, &other, "succeeded").await;

    assert!(
        ended["output"].as_str().unwrap().contains("its hooks would have to be told"),
        "{ended}"
    );
    assert_eq!(server.requests().len(), made);
    let (_, question) = asks(&api, &run).await;
    let decisions = &question["answer"]["properties"]["decision"]["enum"];
    assert_eq!(decisions, &json!(["result", "refuse"]));
}

#[tokio::test]
async fn a_fork_is_told_of_the_same_conversation_and_is_not_a_part_of_it() {
    let app = forks::app().await;
    let api = app.person(&app.trust.owner());
    let agent = scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let talk = api.post("/v1/conversations", &json!({ "agent_id": agent })).await.expect(201);
    let mut last = Value::Null;
    for text in ["one two three", "four"] {
        let body = json!({ "conversation_id": talk["conversation_id"], "input": text });
        let run = api.post("/v1/runs", &body).await.expect(201);
        last = scene::until(&api, &id(&run), "succeeded").await;
    }
    let read = last["usage"]["input_tokens"].as_i64().unwrap();
    assert!(read > 3, "it has read what was said before");

    let forked = id(&fork(&api, &id(&last), &json!({ "edits": { "input": "five six" } })).await);

    let ended = scene::until(&api, &forked, "succeeded").await;
    assert_eq!(ended["output"], "five six");
    assert_eq!(ended["usage"]["input_tokens"], read + 1, "all of it, and one word more");
    assert_eq!(ended["conversation_id"], Value::Null);
    let said = api.get(&format!("/v1/runs/{forked}/messages")).await.expect(200);
    assert_eq!(said["items"].as_array().unwrap().len(), 2, "its own");
    let path = format!("/v1/conversations/{}/messages", talk["conversation_id"].as_str().unwrap());
    assert_eq!(api.get(&path).await.expect(200)["items"].as_array().unwrap().len(), 4);
}
