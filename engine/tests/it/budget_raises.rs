//! Budgets of runs that people raise: who may, what the journal says of it, and whose it is in a swarm.

use serde_json::{Value, json};
use shared_models::Role;
use testkit::{Answer, Api, Stub, eventually};

use crate::budgets::{employ, with_budget};
use crate::harness::TestApp;
use crate::pausing::gated;
use crate::scene;
use crate::swarms::{member, swarm};

async fn waiting(api: &Api, run: &str) -> Value {
    eventually("the run to wait for a budget", async || {
        let run = scene::get(api, run).await;
        (run["wait_reason"] == "budget").then_some(run)
    })
    .await
}

/// What the journal says of changed budgets, each with its path.
async fn changes(api: &Api, run: &str) -> Vec<(Value, Value)> {
    let records = scene::records(&scene::stream(api, run, 0).await);
    let changes = records.into_iter().filter(|(_, kind, _)| kind == "budget_changed");
    changes.map(|(_, _, mut event)| (event["path"].take(), event["data"].take())).collect()
}

#[tokio::test]
async fn a_run_says_who_has_raised_its_budget_and_a_fork_of_it_does_not() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let (api, mate) = (app.person(&owner), owner.teammate(Role::Member));
    let server = Stub::start(|_| Answer::Json(200, json!("fine"))).await;
    // Not the same call again and again.
    let look = |n: usize| json!({ "tool_calls": [{ "name": "look", "arguments": { "n": n } }] });
    let turns: Vec<Value> = (0..3).map(look).chain([json!({ "text": "done" })]).collect();
    let body = json!({ "name": "a", "model": "sim:script", "scope": "team", "budget": { "max_tool_calls": 3 },
        "instructions": scene::script(&turns.into()) });
    let agent = scene::agent(&api, &body).await;
    scene::tool(&api, &agent, "look", &server.url(), "read").await;
    let body = json!({ "agent_id": agent, "input": "go", "budget": { "max_tool_calls": 1 } });
    let run = api.post("/v1/runs", &body).await.expect(201)["run_id"].as_str().unwrap().to_owned();
    let waits = waiting(&api, &run).await;
    assert_eq!(waits["short_of"][0]["run_id"], json!(run));
    assert_eq!(waits["short_of"][0].get("path"), None);

    let path = format!("/v1/runs/{run}/budget");
    app.person(&mate).post(&path, &json!({ "max_tool_calls": 2 })).await.expect(200);
    eventually("the second call", async || (server.requests().len() == 2).then_some(())).await;
    let waits = waiting(&api, &run).await;
    let budget = format!("/v1/budgets/{}", waits["budget"]["budget_id"].as_str().unwrap());
    api.patch(&budget, &json!({ "max_tool_calls": 4 })).await.expect(200);

    scene::until(&api, &run, "succeeded").await;
    let changes_of = changes(&api, &run).await;
    let told: Vec<(&Value, &Value, &Value)> = changes_of
        .iter()
        .map(|(_, data)| {
            (&data["by"], &data["before"]["max_tool_calls"], &data["after"]["max_tool_calls"])
        })
        .collect();
    let (one, other) = (json!(mate.user), json!(owner.user));
    assert_eq!(told, [(&one, &json!(1), &json!(2)), (&other, &json!(2), &json!(4))]);
    assert!(changes_of.iter().all(|(_, data)| data["changed_at"].is_string()), "{changes_of:?}");

    let dry =
        api.post(&format!("/v1/runs/{run}/fork"), &json!({ "mode": "dry" })).await.expect(201);
    let dry = dry["run_id"].as_str().unwrap();
    scene::until(&api, dry, "succeeded").await;
    assert_eq!(changes(&api, dry).await, [], "that was the other run's");
    api.get(&format!("/v1/runs/{run}/diff?with={dry}")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raise_of_a_run_at_work_is_in_its_journal_once_however_it_ends() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    for ending in ["succeeded", "cancelled"] {
        let (server, gate) = gated(0).await;
        let look = format!("look_{ending}");
        let turns = scene::calls(&[&look, &look]);
        let agent = with_budget(&api, ending, &turns, json!({ "max_tool_calls": 5 })).await;
        scene::tool_within(&api, &agent, &look, &server.url(), ("read", 60_000)).await;
        let run = scene::start(&api, &agent).await;
        eventually("the call", async || (!server.requests().is_empty()).then_some(())).await;

        let path = format!("/v1/runs/{run}/budget");
        api.post(&path, &json!({ "max_tool_calls": 6 })).await.expect(200);
        if ending == "cancelled" {
            api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await;
        } else {
            gate.0.open();
        }

        scene::until(&api, &run, ending).await;
        let told = changes(&api, &run).await;
        assert_eq!(told.len(), 1, "{ending}: {told:?}");
        assert_eq!(told[0].1["by"], json!(owner.user));
        let late = api.post(&path, &json!({ "max_tool_calls": 7 })).await;
        assert_eq!(late.refusal(), (409, "run_ended"));
    }
}

/// A team whose lead passes work on to a member with a budget; with the ids of their agents.
async fn team(api: &Api, server: &Stub) -> (String, String) {
    let body = json!({ "name": "facts", "model": "sim:script", "scope": "team", "budget": { "max_tool_calls": 1 },
        "instructions": scene::script(&scene::calls(&["look", "look"])) });
    let facts = scene::agent(api, &body).await;
    scene::tool(api, &facts, "look", &server.url(), "read").await;
    let delegate = json!({ "name": "delegate_to_facts", "arguments": { "task": "ants" } });
    let turns = json!([{ "tool_calls": [delegate] }, { "text": "final: {{last_tool_result}}" }]);
    let body = json!({ "name": "lead", "model": "sim:script", "scope": "team", "instructions": scene::script(&turns) });
    let lead = scene::agent(api, &body).await;
    let team = json!({ "name": "team", "mode": "team", "scope": "team",
        "members": [member(&lead, "lead"), member(&facts, "facts")] });
    (swarm(api, &team).await, facts)
}

#[tokio::test]
async fn the_budget_of_a_swarms_member_is_named_and_raised_by_its_path() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let (api, mate) = (app.person(&owner), app.person(&owner.teammate(Role::Member)));
    let server = Stub::start(|_| Answer::Json(200, json!("fine"))).await;
    let (team, _) = team(&api, &server).await;
    let run = crate::swarm_runs::start(&api, &team).await;

    let waits = waiting(&api, &run).await;

    let short = &waits["short_of"][0];
    assert_eq!((&short["level"], &short["quantity"]), (&json!("run"), &json!("tool_calls")));
    assert_eq!((&short["run_id"], &short["path"]), (&json!(run), &json!("lead/facts")));
    assert_eq!(server.requests().len(), 1, "its member has met its own cap");
    let path = format!("/v1/runs/{run}/budget");
    let raise = |of: Value, most: i64| json!({ "path": of, "max_tool_calls": most });
    let own = api.post(&path, &json!({ "max_tool_calls": 9 })).await;
    assert_eq!(own.refusal(), (409, "run_without_budget"), "the swarm itself has none");
    for nobody in ["lead/nobody", "facts/lead/facts/x", "lead/facts#2", "lead/facts#x"] {
        let reply = api.post(&path, &raise(json!(nobody), 9)).await;
        assert_eq!(reply.refusal(), (404, "member_not_found"), "{nobody}");
    }
    assert_eq!(
        api.post(&path, &raise(json!("lead"), 9)).await.refusal(),
        (409, "run_without_budget")
    );
    assert_eq!(api.post(&path, &raise(json!(7), 9)).await.status, 422);
    assert_eq!(
        mate.post(&path, &raise(json!("lead/facts"), 2)).await.refusal(),
        (403, "not_owner")
    );

    let raised = api.post(&path, &raise(json!("lead/facts"), 2)).await.expect(200);

    assert_eq!((&raised["run_id"], &raised["path"]), (&json!(run), &json!("lead/facts")));
    assert_eq!((&raised["lines"][0]["spent"], &raised["lines"][0]["cap"]), (&json!(1), &json!(2)));
    let ended = scene::until(&api, &run, "succeeded").await;
    assert_eq!((&ended["output"], server.requests().len()), (&json!("final: told: \"fine\""), 2));
    let told = changes(&api, &run).await;
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0].1["path"], &told[0].1["by"]), (&json!("lead/facts"), &json!(owner.user)));
}

#[tokio::test]
async fn whoever_works_for_a_run_names_the_run_whose_budget_it_is_short_of() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|_| Answer::Json(200, json!("fine"))).await;
    let below = scene::scripted(&api, "below", &scene::calls(&["look"])).await;
    scene::tool(&api, &below, "look", &server.url(), "read").await;
    let calls = json!([{ "tool_calls": [{ "name": "ask", "arguments": { "task": "x" } }] }, { "text": "all" }]);
    let above = with_budget(&api, "above", &calls, json!({ "max_tool_calls": 1 })).await;
    employ(&api, &above, "ask", &below).await;
    let run = scene::start(&api, &above).await;

    let child = eventually("the child to wait", async || {
        let tree = api.get(&format!("/v1/runs/{run}/tree")).await.expect(200);
        let child = tree["children"].get(0)?.clone();
        (child["wait_reason"] == "budget").then_some(child)
    })
    .await;

    let child = scene::get(&api, child["run_id"].as_str().unwrap()).await;
    assert_eq!(child["short_of"][0]["run_id"], json!(run));
    let more = json!({ "max_tool_calls": 2 });
    api.post(&format!("/v1/runs/{run}/budget"), &more).await.expect(200);
    scene::until(&api, &run, "succeeded").await;
    assert_eq!(server.requests().len(), 1);
}
