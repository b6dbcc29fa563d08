//! What a deadline counts: what a run does, not the time in which somebody else is to do something.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use testkit::{Answer, Api, Stub};

use crate::harness::TestApp;
use crate::pausing::{asking, calls, gated, pause, resume, swept};
use crate::scene;

/// Lets two hours pass for all runs and their timers; a deadline is one hour after the start.
async fn two_hours_later(app: &TestApp) {
    let mut admin = app.db.admin().await;
    for shift in [
        "update engine.run set held_at = held_at - interval '2 hours', deadline_at = deadline_at - interval '2 hours'",
        "update engine.run_timer set due_at = due_at - interval '2 hours'",
    ] {
        sqlx::query(shift).execute(&mut admin).await.unwrap();
    }
}

fn deadline(run: &Value) -> DateTime<Utc> {
    run["deadline_at"].as_str().unwrap().parse().unwrap()
}

/// Waits for the run to wait, lets two hours pass, and sees that it still waits.
async fn outlasts(app: &TestApp, api: &Api, run: &str, reason: &str) {
    let before = scene::until(api, run, "waiting").await;
    assert_eq!(before["wait_reason"], reason);
    two_hours_later(app).await;
    swept(app).await;
    swept(app).await;
    assert_eq!(scene::get(api, run).await["wait_reason"], reason);
}

#[tokio::test]
async fn a_run_that_waits_for_a_person_may_wait_longer_than_its_deadline() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = asking(&api, "a").await;
    let run = scene::start(&api, &agent).await;
    let before = scene::until(&api, &run, "waiting").await;
    outlasts(&app, &api, &run, "input").await;

    api.post(&format!("/v1/runs/{run}/input"), &json!({ "answer": "yes" })).await.expect(202);

    let ended = scene::until(&api, &run, "succeeded").await;
    assert!(deadline(&ended) >= deadline(&before), "{ended}");
}

#[tokio::test]
async fn a_run_that_waits_for_the_far_end_may_wait_longer_than_its_deadline() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|_| Answer::Json(202, json!("taken"))).await;
    let agent = scene::scripted(&api, "a", &scene::calls(&["work"])).await;
    let fields = json!({ "name": "work", "kind": "http", "effect": "unsafe",
        "parameters": { "type": "object", "properties": { "n": {} } },
        "config": { "method": "POST", "url": server.url(), "callback": {} } });
    let tool = api.post("/v1/tools", &fields).await.expect(201);
    let path = format!("/v1/agents/{agent}/tools/{}", tool["tool_id"].as_str().unwrap());
    api.put(&path, &json!({})).await.expect(200);
    let run = scene::start(&api, &agent).await;
    outlasts(&app, &api, &run, "callback").await;

    let token = server.requests()[0].header("switchyard-callback-token").to_owned();
    let path = format!("/v1/callbacks/{token}");
    app.api.post(&path, &json!({ "result": "done" })).await.expect(202);

    scene::until(&api, &run, "succeeded").await;
}

/// An agent that has another do its task, and says what it was told.
async fn delegating(api: &Api, name: &str, below: &str) -> String {
    let call = json!({ "tool_calls": [{ "name": "delegate", "arguments": { "task": "x" } }] });
    let turns = json!([call, { "text": "told: {{last_tool_result}}" }]);
    let above = scene::scripted(api, name, &turns).await;
    let tool = json!({ "name": format!("{name}_delegates"), "kind": "agent", "config": { "agent_id": below } });
    let made = api.post("/v1/tools", &tool).await.expect(201);
    let path = format!("/v1/agents/{above}/tools/{}", made["tool_id"].as_str().unwrap());
    api.put(&path, &json!({ "name": "delegate" })).await.expect(200);
    above
}

#[tokio::test]
async fn a_run_that_goes_on_while_the_one_below_it_still_waits_for_a_person_is_not_ended() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let below = asking(&api, "below").await;
    let above = delegating(&api, "above", &below).await;
    let run = scene::start(&api, &above).await;
    let asker = testkit::eventually("the run below", async || {
        let tree = api.get(&format!("/v1/runs/{run}/tree")).await.expect(200);
        tree["children"][0]["run_id"].as_str().map(str::to_owned)
    })
    .await;
    scene::until(&api, &asker, "waiting").await;
    outlasts(&app, &api, &run, "child").await;

    // What it hears makes a worker take it, long after its deadline; the one below has not moved on yet.
    for (verb, status) in [("pause", "paused"), ("resume", "waiting")] {
        api.post(&format!("/v1/runs/{run}/{verb}"), &json!({})).await.expect(202);
        scene::until(&api, &run, status).await;
        scene::until(&api, &asker, status).await;
    }
    api.post(&format!("/v1/runs/{asker}/input"), &json!({ "answer": "yes" })).await.expect(202);

    assert_eq!(scene::until(&api, &run, "succeeded").await["output"], "told: told: yes");
}

#[tokio::test]
async fn sweeps_read_no_deadline_of_a_run_that_waits_for_a_person_and_it_is_due_again_afterwards() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let turns = json!([
        { "tool_calls": [{ "name": "ask", "arguments": { "question": "May I?" } }] },
        { "text": "late", "delay_ms": 60_000 },
    ]);
    let agent = scene::scripted(&api, "a", &turns).await;
    let tool = json!({ "name": "ask", "kind": "builtin", "config": { "builtin": "ask_human" } });
    let made = api.post("/v1/tools", &tool).await.expect(201);
    let path = format!("/v1/agents/{agent}/tools/{}", made["tool_id"].as_str().unwrap());
    api.put(&path, &json!({})).await.expect(200);
    let run = scene::start(&api, &agent).await;
    let timer = async |question: &'static str| {
        sqlx::query_scalar::<_, bool>(question)
            .bind(scene::bare(&run))
            .fetch_one(&mut app.db.admin().await)
            .await
            .unwrap()
    };

    outlasts(&app, &api, &run, "input").await;
    let never = "select due_at = 'infinity' from engine.run_timer where run_id = $1::uuid and name = 'deadline'";
    assert!(timer(never).await, "its deadline is due, and read in every sweep");

    api.post(&format!("/v1/runs/{run}/input"), &json!({ "answer": "yes" })).await.expect(202);
    scene::until(&api, &run, "running").await;
    let again = "select t.due_at = r.deadline_at and r.deadline_at > now() from engine.run_timer t
        join engine.run r using (run_id) where run_id = $1::uuid and t.name = 'deadline'";
    assert!(timer(again).await, "its deadline never comes");
}

#[tokio::test]
async fn a_run_whose_child_waits_for_a_person_waits_with_it_at_any_depth() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let mut agent = asking(&api, "bottom").await;
    for name in ["middle", "top"] {
        agent = delegating(&api, name, &agent).await;
    }
    let run = scene::start(&api, &agent).await;
    let mut asker = run.clone();
    for _ in 0..2 {
        asker = testkit::eventually("the run below", async || {
            let tree = api.get(&format!("/v1/runs/{asker}/tree")).await.expect(200);
            tree["children"][0]["run_id"].as_str().map(str::to_owned)
        })
        .await;
    }
    let before = scene::until(&api, &asker, "waiting").await;
    assert_eq!(before["wait_reason"], "input");
    outlasts(&app, &api, &run, "child").await;

    api.post(&format!("/v1/runs/{asker}/input"), &json!({ "answer": "yes" })).await.expect(202);

    let ended = scene::until(&api, &run, "succeeded").await;
    assert_eq!(ended["output"], "told: told: told: yes");
    assert!(deadline(&ended) >= deadline(&before), "{ended}");
}

#[tokio::test]
async fn a_run_whose_child_works_too_long_ends_at_its_deadline_with_it() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let slow =
        scene::scripted(&api, "slow", &json!([{ "text": "late", "delay_ms": 60_000 }])).await;
    let call = json!({ "tool_calls": [{ "name": "delegate", "arguments": { "task": "x" } }] });
    let lead = scene::scripted(&api, "lead", &json!([call, { "text": "told" }])).await;
    let tool = json!({ "name": "delegate", "kind": "agent", "config": { "agent_id": slow } });
    let made = api.post("/v1/tools", &tool).await.expect(201);
    let path = format!("/v1/agents/{lead}/tools/{}", made["tool_id"].as_str().unwrap());
    api.put(&path, &json!({})).await.expect(200);

    let body = json!({ "agent_id": lead, "input": "go", "deadline_seconds": 2 });
    let made = api.post("/v1/runs", &body).await.expect(201);
    let run = made["run_id"].as_str().unwrap();

    assert_eq!(scene::until(&api, run, "timed_out").await["error"]["code"], "deadline");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_is_no_earlier_for_a_claim_that_began_before_the_run_came_to_rest() {
    /// What claims hold, so that there is one at a time.
    const CLAIMING: i64 = 0x5359_434c_4149_4d00;
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let (server, gate) = gated(0).await;
    let agent = scene::scripted(&api, "a", &scene::calls(&["look"])).await;
    scene::tool_within(&api, &agent, "look", &server.url(), ("read", 60_000)).await;
    let run = scene::start(&api, &agent).await;
    calls(&server, 1).await;
    let before = scene::get(&api, &run).await;
    let mut holder = app.db.admin().await;
    sqlx::query("select pg_advisory_lock($1)").bind(CLAIMING).execute(&mut holder).await.unwrap();

    pause(&api, &run).await;
    testkit::eventually("a claim to begin", async || {
        let waits = "select exists (select from pg_stat_activity
            where datname = current_database() and wait_event = 'advisory')";
        let waits = sqlx::query_scalar::<_, bool>(waits);
        waits.fetch_one(&mut app.db.admin().await).await.unwrap().then_some(())
    })
    .await;
    gate.0.open();
    scene::until(&api, &run, "paused").await;
    resume(&api, &run).await;
    sqlx::query("select pg_advisory_unlock($1)").bind(CLAIMING).execute(&mut holder).await.unwrap();

    let ended = scene::until(&api, &run, "succeeded").await;
    assert!(deadline(&ended) >= deadline(&before), "{ended}");
}
