//! Runs that people stop for a while.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};
use shared_models::Role;
use testkit::{Answer, Api, Stub, eventually};

use crate::harness::TestApp;
use crate::scene;

/// How many calls a long run makes, one after the other.
pub(crate) const LONG: usize = 60;

/// Holds calls up until it is opened, or dropped.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let (open, opened) = &*self.0;
        tokio::task::block_in_place(|| {
            drop(opened.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
        });
    }
}

pub(crate) struct OpenAtLast(pub(crate) Gate);

impl Drop for OpenAtLast {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// A server that answers the first calls; the others wait at the gate. Needs a runtime with several threads.
pub(crate) async fn gated(free: usize) -> (Stub, OpenAtLast) {
    gated_by(free, || Answer::Json(200, json!("fine"))).await
}

/// The same with another answer.
pub(crate) async fn gated_by(
    free: usize,
    answer: impl Fn() -> Answer + Send + Sync + 'static,
) -> (Stub, OpenAtLast) {
    let gate = Gate::default();
    let (at, seen) = (gate.clone(), AtomicUsize::new(0));
    let server = Stub::start(move |_| {
        if seen.fetch_add(1, Ordering::SeqCst) >= free {
            at.pass();
        }
        answer()
    });
    (server.await, OpenAtLast(gate))
}

pub(crate) async fn fine() -> Stub {
    Stub::start(|_| Answer::Json(200, json!("fine"))).await
}

/// An agent that makes so many calls of a tool, and takes a little for each.
pub(crate) async fn long(api: &Api, name: &str, server: &Stub) -> String {
    let call = json!({ "tool_calls": [{ "name": format!("look_{name}"), "arguments": {} }], "delay_ms": 5 });
    let mut turns = vec![call; LONG];
    // Not the same call again and again.
    for (n, turn) in turns.iter_mut().enumerate() {
        turn["tool_calls"][0]["arguments"] = json!({ "n": n });
    }
    turns.push(json!({ "text": "done" }));
    let body = json!({ "name": name, "model": "sim:script", "max_steps": 1000, "instructions": scene::script(&turns.into()) });
    let agent = scene::agent(api, &body).await;
    scene::tool(api, &agent, &format!("look_{name}"), &server.url(), "read").await;
    agent
}

/// An agent that asks a person and says what they have answered.
pub(crate) async fn asking(api: &Api, name: &str) -> String {
    let tool = json!({ "name": format!("ask_{name}"), "kind": "builtin", "config": { "builtin": "ask_human" } });
    let made = api.post("/v1/tools", &tool).await.expect(201);
    let turns = json!([
        { "tool_calls": [{ "name": format!("ask_{name}"), "arguments": { "question": "Well?" } }] },
        { "text": "told: {{last_tool_result}}" },
    ]);
    let agent = scene::scripted(api, name, &turns).await;
    let path = format!("/v1/agents/{agent}/tools/{}", made["tool_id"].as_str().unwrap());
    api.put(&path, &json!({})).await.expect(200);
    agent
}

pub(crate) async fn calls(server: &Stub, at_least: usize) {
    eventually("calls", async || (server.requests().len() >= at_least).then_some(())).await;
}

pub(crate) async fn pause(api: &Api, run: &str) {
    api.post(&format!("/v1/runs/{run}/pause"), &json!({})).await.expect(202);
}

pub(crate) async fn resume(api: &Api, run: &str) {
    api.post(&format!("/v1/runs/{run}/resume"), &json!({})).await.expect(202);
}

/// Waits until the sweeper has looked at everything after this was called.
pub(crate) async fn swept(app: &TestApp) {
    let mut admin = app.db.admin().await;
    let begun: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar("select now()").fetch_one(&mut admin).await.unwrap();
    // The second one began after the first was seen to.
    for _ in 0..2 {
        let seen: chrono::DateTime<chrono::Utc> =
            sqlx::query_scalar("select greatest(swept_at, $1) from engine.sweep")
                .bind(begun)
                .fetch_one(&mut admin)
                .await
                .unwrap();
        eventually("a sweep", async || {
            let mut admin = app.db.admin().await;
            sqlx::query_scalar::<_, bool>("select swept_at > $1 from engine.sweep")
                .bind(seen)
                .fetch_one(&mut admin)
                .await
                .unwrap()
                .then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_run_holds_no_worker_and_goes_on_where_it_stopped() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let (server, gate) = gated(3).await;
    let agent = long(&api, "a", &server).await;
    let run = scene::start(&api, &agent).await;
    calls(&server, 4).await;

    pause(&api, &run).await;
    assert_eq!(
        scene::get(&api, &run).await["status"],
        "running",
        "the call under way is not given up"
    );
    gate.0.open();
    let paused = scene::until(&api, &run, "paused").await;

    assert_eq!((&paused["wait_reason"], &paused["finished_at"]), (&Value::Null, &Value::Null));
    let owner: Option<uuid::Uuid> =
        sqlx::query_scalar("select worker_id from engine.run where run_id = $1::uuid")
            .bind(scene::bare(&run))
            .fetch_one(&mut app.db.admin().await)
            .await
            .unwrap();
    assert_eq!(owner, None);
    swept(&app).await;
    assert_eq!(scene::get(&api, &run).await["status"], "paused");
    assert_eq!(server.requests().len(), 4);

    resume(&api, &run).await;
    let ended = scene::until(&api, &run, "succeeded").await;

    assert_eq!(ended["output"], "done");
    assert_eq!(server.requests().len(), LONG, "each call once");
    let kinds = scene::kinds(&app.db, &run).await;
    let place = |kind: &str| kinds.iter().position(|other| other == kind).unwrap();
    assert!(place("paused") < place("unpaused"), "{kinds:?}");
}

#[tokio::test]
async fn what_cannot_be_paused_or_resumed_is_refused_with_its_reason() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let agent = asking(&api, "a").await;
    let run = scene::start(&api, &agent).await;
    scene::until(&api, &run, "waiting").await;
    let path = |verb: &str| format!("/v1/runs/{run}/{verb}");

    assert_eq!(api.post(&path("resume"), &json!({})).await.refusal(), (409, "run_not_paused"));
    pause(&api, &run).await;
    assert_eq!(api.post(&path("pause"), &json!({})).await.refusal(), (409, "run_paused"));
    scene::until(&api, &run, "paused").await;
    assert_eq!(api.post(&path("pause"), &json!({})).await.refusal(), (409, "run_paused"));
    let colleague = app.person(&owner.colleague(Role::Member));
    assert_eq!(colleague.post(&path("resume"), &json!({})).await.refusal(), (404, "run_not_found"));
    resume(&api, &run).await;
    assert_eq!(api.post(&path("resume"), &json!({})).await.refusal(), (409, "run_not_paused"));
    scene::until(&api, &run, "waiting").await;
    pause(&api, &run).await;
    scene::until(&api, &run, "paused").await;

    api.post(&path("cancel"), &json!({})).await.expect(202);
    scene::until(&api, &run, "cancelled").await;

    for verb in ["pause", "resume"] {
        assert_eq!(api.post(&path(verb), &json!({})).await.refusal(), (409, "run_ended"), "{verb}");
    }
}

#[tokio::test]
async fn an_answer_is_kept_for_a_paused_run_until_it_goes_on() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = asking(&api, "a").await;
    let run = scene::start(&api, &agent).await;
    scene::until(&api, &run, "waiting").await;
    pause(&api, &run).await;
    scene::until(&api, &run, "paused").await;

    let input = format!("/v1/runs/{run}/input");
    assert_eq!(api.post(&input, &json!({ "answer": "yes" })).await.status, 202);
    swept(&app).await;
    assert_eq!(scene::get(&api, &run).await["status"], "paused");
    resume(&api, &run).await;

    assert_eq!(scene::until(&api, &run, "succeeded").await["output"], "told: yes");
}

#[tokio::test]
async fn the_runs_that_work_for_a_run_stop_and_go_on_with_it() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let below = asking(&api, "below").await;
    let tool = json!({ "name": "delegate", "kind": "agent", "config": { "agent_id": below } });
    let made = api.post("/v1/tools", &tool).await.expect(201);
    let turns = json!([
        { "tool_calls": [{ "name": "delegate", "arguments": { "task": "x" } }] },
        { "text": "{{last_tool_result}}" },
    ]);
    let above = scene::scripted(&api, "above", &turns).await;
    let path = format!("/v1/agents/{above}/tools/{}", made["tool_id"].as_str().unwrap());
    api.put(&path, &json!({})).await.expect(200);
    let run = scene::start(&api, &above).await;
    let child = eventually("the one below to ask", async || {
        let tree = api.get(&format!("/v1/runs/{run}/tree")).await.expect(200);
        let child = &tree["children"][0];
        (child["status"] == "waiting").then(|| child["run_id"].as_str().unwrap().to_owned())
    })
    .await;

    pause(&api, &run).await;
    scene::until(&api, &run, "paused").await;
    scene::until(&api, &child, "paused").await;
    resume(&api, &run).await;
    scene::until(&api, &child, "waiting").await;

    let input = format!("/v1/runs/{child}/input");
    assert_eq!(api.post(&input, &json!({ "answer": "yes" })).await.status, 202);
    assert_eq!(scene::until(&api, &run, "succeeded").await["output"], "told: yes");
}

#[tokio::test]
async fn a_run_that_no_limit_lets_begin_can_be_paused() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let late = json!([{ "text": "late", "delay_ms": 60_000 }]);
    let body = json!({ "name": "a", "model": "sim:script", "instructions": scene::script(&late), "limits": { "max_concurrent_runs": 1 } });
    let agent = scene::agent(&api, &body).await;
    let first = scene::start(&api, &agent).await;
    scene::until(&api, &first, "running").await;
    let second = scene::start(&api, &agent).await;
    assert_eq!(scene::get(&api, &second).await["status"], "queued");

    pause(&api, &second).await;

    scene::until(&api, &second, "paused").await;
    api.post(&format!("/v1/runs/{second}/cancel"), &json!({})).await.expect(202);
    scene::until(&api, &second, "cancelled").await;
}

#[tokio::test]
async fn the_clock_of_a_deadline_stands_still_while_a_run_is_paused() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = asking(&api, "a").await;
    let run = scene::start(&api, &agent).await;
    scene::until(&api, &run, "waiting").await;
    pause(&api, &run).await;
    let before = scene::until(&api, &run, "paused").await;
    let mut admin = app.db.admin().await;
    // As if two hours had passed since; the deadline is one after the start.
    for shift in [
        "update engine.run set held_at = held_at - interval '2 hours', deadline_at = deadline_at - interval '2 hours' where run_id = $1::uuid",
        "update engine.run_timer set due_at = due_at - interval '2 hours' where run_id = $1::uuid",
    ] {
        sqlx::query(shift).bind(scene::bare(&run)).execute(&mut admin).await.unwrap();
    }
    swept(&app).await;
    assert_eq!(scene::get(&api, &run).await["status"], "paused");

    resume(&api, &run).await;

    let after = scene::until(&api, &run, "waiting").await;
    let deadline = |run: &Value| -> chrono::DateTime<chrono::Utc> {
        run["deadline_at"].as_str().unwrap().parse().unwrap()
    };
    assert!(deadline(&after) >= deadline(&before), "{after}");
}
