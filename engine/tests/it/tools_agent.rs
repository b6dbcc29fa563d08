//! Agents as tools, questions to people, and many tools: runs that wait for somebody else.

use serde_json::{Value, json};
use shared_models::Role;
use testkit::{Answer, Api, Stub, eventually};

use crate::harness::TestApp;
use crate::scene;

/// Gives the agent another one as a tool.
pub(crate) async fn employ(api: &Api, agent: &str, name: &str, other: &str) {
    let tool = json!({ "name": name, "kind": "agent", "config": { "agent_id": other } });
    let made = api.post("/v1/tools", &tool).await.expect(201);
    let path = format!("/v1/agents/{agent}/tools/{}", made["tool_id"].as_str().unwrap());
    api.put(&path, &json!({})).await.expect(200);
}

pub(crate) fn delegates(names: &[&str]) -> Value {
    let calls: Vec<Value> = names
        .iter()
        .map(|name| json!({ "name": name, "arguments": { "task": format!("do {name}") } }))
        .collect();
    json!([{ "tool_calls": calls }, { "text": "told: {{last_tool_result}}" }])
}

async fn tree(api: &Api, run: &str) -> Value {
    api.get(&format!("/v1/runs/{run}/tree")).await.expect(200)
}

/// The child of a run, once there is one that has this status.
async fn child(api: &Api, run: &str, status: &str) -> Value {
    eventually(&format!("a child that is {status}"), async || {
        let child = tree(api, run).await["children"][0].clone();
        (child["status"] == status).then_some(child)
    })
    .await
}

#[tokio::test]
async fn an_agent_works_for_another_in_a_run_of_its_own() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let writer = scene::scripted(&api, "writer", &json!([{ "text": "a poem" }])).await;
    let lead = scene::scripted(&api, "lead", &delegates(&["write"])).await;
    employ(&api, &lead, "write", &writer).await;

    let run = scene::start(&api, &lead).await;

    let ended = scene::until(&api, &run, "succeeded").await;
    assert_eq!(ended["output"], "told: a poem");
    let tree = tree(&api, &run).await;
    let below = &tree["children"][0];
    assert_eq!((&tree["agent_name"], &below["agent_name"]), (&json!("lead"), &json!("writer")));
    assert!(!below["parent_call_id"].as_str().unwrap().is_empty());
    let seen = scene::get(&api, below["run_id"].as_str().unwrap()).await;
    assert_eq!((&seen["root_run_id"], &seen["output"]), (&json!(run), &json!("a poem")));
    let deadline = |run: &Value| {
        let at: chrono::DateTime<chrono::Utc> =
            run["deadline_at"].as_str().unwrap().parse().unwrap();
        at.timestamp_millis()
    };
    assert!((deadline(&seen) - deadline(&ended)).abs() <= 1, "one deadline for both");
    let kinds = scene::kinds(&app.db, &run).await;
    assert!(kinds.contains(&"tool_waiting".to_owned()), "{kinds:?}");
}

#[tokio::test]
async fn a_run_that_waits_for_others_survives_its_process_and_hears_each_once() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|_| Answer::Never).await;
    let slow = scene::scripted(&api, "slow", &scene::calls(&["look"])).await;
    scene::tool(&api, &slow, "look", &server.url(), "read").await;
    let quick = scene::scripted(&api, "quick", &json!([{ "text": "done" }])).await;
    let lead = scene::scripted(&api, "lead", &delegates(&["first", "second"])).await;
    employ(&api, &lead, "first", &slow).await;
    employ(&api, &lead, "second", &quick).await;
    let run = scene::start(&api, &lead).await;
    let node = app.node().await;
    eventually("the slow one to be at work", async || (server.requests().len() == 1).then_some(()))
        .await;

    node.kill();
    let _other = app.node().await;

    let ended = scene::until(&api, &run, "succeeded").await;
    assert_eq!(ended["output"], "told: done");
    let tree = tree(&api, &run).await;
    assert_eq!(tree["children"].as_array().unwrap().len(), 2, "no child twice: {tree}");
    let answered =
        scene::kinds(&app.db, &run).await.iter().filter(|kind| *kind == "tool_answered").count();
    assert_eq!(answered, 2);
}

#[tokio::test]
async fn a_cancel_reaches_those_who_work_for_the_run() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let asker = scene::scripted(
        &api,
        "asker",
        &json!([{ "tool_calls": [
        { "name": "ask", "arguments": { "question": "Well?" } }] }, { "text": "ok" }]),
    )
    .await;
    ask_tool(&api, &asker, &json!({ "builtin": "ask_human" })).await;
    let lead = scene::scripted(&api, "lead", &delegates(&["question"])).await;
    employ(&api, &lead, "question", &asker).await;
    let run = scene::start(&api, &lead).await;
    let below = child(&api, &run, "waiting").await;
    assert_eq!(scene::until(&api, &run, "waiting").await["wait_reason"], "child");

    assert_eq!(api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await.status, 202);

    scene::until(&api, &run, "cancelled").await;
    scene::until(&api, below["run_id"].as_str().unwrap(), "cancelled").await;
}

#[tokio::test]
async fn agents_that_employ_each_other_come_to_an_end() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let narcissus = scene::scripted(&api, "narcissus", &delegates(&["again"])).await;
    employ(&api, &narcissus, "again", &narcissus).await;

    let run = scene::start(&api, &narcissus).await;

    let ended = scene::until(&api, &run, "succeeded").await;
    assert!(
        ended["output"].as_str().unwrap().contains("8 agents are at work above this one"),
        "{ended}"
    );
}

#[tokio::test]
async fn nobody_employs_an_agent_they_may_not_see() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let (one, other) = (owner.colleague(Role::Member), owner.colleague(Role::Member));
    let (mine, theirs) = (app.person(&one), app.person(&other));
    let private = scene::scripted(&mine, "private", &json!([{ "text": "secret" }])).await;
    let tool = json!({ "name": "spy", "kind": "agent", "config": { "agent_id": private } });

    let made = theirs.post("/v1/tools", &tool).await;
    let own = mine.post("/v1/tools", &tool).await.expect(201);
    let agent = scene::scripted(&theirs, "spy", &delegates(&["spy"])).await;
    let path = format!("/v1/agents/{agent}/tools/{}", own["tool_id"].as_str().unwrap());
    let assigned = theirs.put(&path, &json!({})).await;

    assert_eq!(made.expect(422)["errors"][0]["pointer"], "/config/agent_id");
    assert_eq!(assigned.status, 422, "{}", assigned.text);
}

async fn ask_tool(api: &Api, agent: &str, config: &Value) {
    let tool = json!({ "name": "ask", "kind": "builtin", "config": config });
    let made = match api.get("/v1/tools?name=ask").await.body["items"][0].clone() {
        Value::Null => api.post("/v1/tools", &tool).await.expect(201),
        found => found,
    };
    let path = format!("/v1/agents/{agent}/tools/{}", made["tool_id"].as_str().unwrap());
    api.put(&path, &json!({})).await.expect(200);
}

fn asks(questions: &[&str]) -> Value {
    let calls: Vec<Value> = questions
        .iter()
        .map(|text| json!({ "name": "ask", "arguments": { "question": text } }))
        .collect();
    json!([{ "tool_calls": calls }, { "text": "told: {{last_tool_result}}" }])
}

#[tokio::test]
async fn a_question_waits_for_a_person_through_restarts_and_goes_on_with_the_answer() {
    let app = TestApp::without_workers().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let agent = scene::scripted(&api, "a", &asks(&["Which colour?"])).await;
    ask_tool(&api, &agent, &json!({ "builtin": "ask_human" })).await;
    let run = scene::start(&api, &agent).await;
    let node = app.node().await;
    let waiting = scene::until(&api, &run, "waiting").await;
    assert_eq!(waiting["wait_reason"], "input");
    node.kill();
    let path = format!("/v1/runs/{run}/input");
    let open = api.get(&path).await.expect(200);
    assert_eq!(open["items"][0]["question"], "Which colour?");
    let stranger = app.person(&owner.colleague(Role::Member));
    assert_eq!(stranger.get(&path).await.status, 404);

    assert_eq!(api.post(&path, &json!({ "answer": "Blue" })).await.status, 202);
    let again = api.post(&path, &json!({ "answer": "Red" })).await;
    assert_eq!(again.refusal(), (409, "question_answered"));
    let _other = app.node().await;

    let ended = scene::until(&api, &run, "succeeded").await;
    assert_eq!(ended["output"], "told: Blue");
    assert_eq!(api.post(&path, &json!({ "answer": "Red" })).await.refusal(), (409, "run_ended"));
    assert_eq!(api.get(&path).await.body["items"], json!([]));
}

#[tokio::test]
async fn an_answer_must_fit_what_was_asked_for() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = scene::scripted(&api, "a", &asks(&["How many?", "How many more?"])).await;
    let schema = json!({ "type": "object", "required": ["n"], "properties": { "n": { "type": "integer" } } });
    ask_tool(&api, &agent, &json!({ "builtin": "ask_human", "answer": schema })).await;
    let run = scene::start(&api, &agent).await;
    scene::until(&api, &run, "waiting").await;
    let path = format!("/v1/runs/{run}/input");
    let open = api.get(&path).await.expect(200);
    let id = |n: usize| open["items"][n]["call_id"].clone();

    let unnamed = api.post(&path, &json!({ "answer": { "n": 1 } })).await;
    let unfit = api.post(&path, &json!({ "call_id": id(0), "answer": "many" })).await;
    let unknown = api.post(&path, &json!({ "call_id": "c9", "answer": { "n": 1 } })).await;

    assert_eq!(unnamed.expect(422)["errors"][0]["pointer"], "/call_id");
    assert_eq!(unfit.expect(422)["errors"][0]["pointer"], "/answer");
    assert_eq!(unknown.refusal(), (404, "question_not_found"));
    api.post(&path, &json!({ "call_id": id(0), "answer": { "n": 1 } })).await;
    assert_eq!(
        api.post(&path, &json!({ "call_id": id(1), "answer": { "n": 2 } })).await.status,
        202
    );
    assert_eq!(scene::until(&api, &run, "succeeded").await["output"], r#"told: {"n":2}"#);
}

#[tokio::test]
async fn an_agent_with_many_tools_looks_for_them_and_a_replay_agrees() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|_| Answer::Never).await;
    let call = |name: &str, arguments: Value| json!({ "tool_calls": [{ "name": name, "arguments": arguments }] });
    let turns = json!([call("thing_7", json!({})), call("find_tools", json!({ "query": "thing 7" })),
        call("thing_7", json!({})), { "text": "told: {{last_tool_result}}" }]);
    let agent = scene::scripted(&api, "a", &turns).await;
    for n in 0..25 {
        scene::tool(&api, &agent, &format!("thing_{n}"), &format!("{}/{n}", server.url()), "read")
            .await;
    }
    let run = scene::start(&api, &agent).await;
    let node = app.node().await;
    eventually("the found tool to be called", async || {
        (server.requests().len() == 1).then_some(())
    })
    .await;

    // Whoever takes the run over must know that the tool was found.
    node.kill();
    let _other = app.node().await;

    eventually("it to be called again", async || (server.requests().len() >= 2).then_some(()))
        .await;
    assert!(server.requests().iter().all(|seen| seen.path == "/7"));
    let kinds = scene::kinds(&app.db, &run).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "tools_found").count(), 1);
    let first = api.get(&format!("/v1/runs/{run}/messages")).await.expect(200).to_string();
    assert!(first.contains("look for it first"), "{first}");
}
