//! Runs that are stopped for a while beside each other, and while other things happen to them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use shared_models::Role;
use testkit::{Answer, Stub, eventually};

use crate::harness::TestApp;
use crate::pausing::{LONG, asking, calls, fine, gated, long, pause, resume, swept};
use crate::scene;

#[tokio::test]
async fn however_people_contradict_each_other_a_run_ends_once_and_calls_nothing_twice() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let mut runs = Vec::new();
    for n in 0..6 {
        let server = fine().await;
        let agent = long(&api, &format!("a{n}"), &server).await;
        runs.push((scene::start(&api, &agent).await, server));
    }

    let contradict = runs.iter().map(async |(run, server)| {
        let (stop, go) = (format!("/v1/runs/{run}/pause"), format!("/v1/runs/{run}/resume"));
        for n in 1..8 {
            calls(server, n).await;
            let nothing = json!({});
            let said = tokio::join!(
                api.post(&stop, &nothing),
                api.post(&go, &nothing),
                api.post(&stop, &nothing)
            );
            for reply in [said.0, said.1, said.2] {
                assert!(matches!(reply.status, 202 | 409), "{}", reply.text);
            }
            // Whatever it came to, it is to go on.
            let reply = api.post(&go, &nothing).await;
            let over = ["run_not_paused", "run_ended"].contains(&reply.code());
            assert!(reply.status == 202 || over, "{}", reply.text);
        }
    });
    futures::future::join_all(contradict).await;

    for (run, server) in &runs {
        assert_eq!(scene::until(&api, run, "succeeded").await["output"], "done");
        assert_eq!(server.requests().len(), LONG);
        let kinds = scene::kinds(&app.db, run).await;
        assert_eq!(kinds.iter().filter(|kind| *kind == "finished").count(), 1);
    }
}

#[tokio::test]
async fn of_a_pause_and_a_cancel_at_once_the_cancel_wins() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    for n in 0..5 {
        // One call is never answered, so the run does not end before.
        let seen = AtomicUsize::new(0);
        let server = Stub::start(move |_| match seen.fetch_add(1, Ordering::SeqCst) {
            call if call < n => Answer::Json(200, json!("fine")),
            _ => Answer::Never,
        })
        .await;
        let agent = long(&api, &format!("a{n}"), &server).await;
        let run = scene::start(&api, &agent).await;
        calls(&server, n).await;
        let (stop, end) = (format!("/v1/runs/{run}/pause"), format!("/v1/runs/{run}/cancel"));
        let nothing = json!({});

        let (paused, cancelled) = tokio::join!(api.post(&stop, &nothing), api.post(&end, &nothing));

        assert!(matches!(paused.status, 202 | 409), "{}", paused.text);
        cancelled.expect(202);
        scene::until(&api, &run, "cancelled").await;
    }
}

#[tokio::test]
async fn all_paused_runs_that_a_filter_chooses_go_on_and_no_others() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let (chosen, other) = (asking(&api, "chosen").await, asking(&api, "other").await);
    let mut runs = Vec::new();
    for agent in [&chosen, &chosen, &other] {
        let run = scene::start(&api, agent).await;
        scene::until(&api, &run, "waiting").await;
        pause(&api, &run).await;
        scene::until(&api, &run, "paused").await;
        runs.push(run);
    }
    let which = json!({ "agent_id": chosen });

    let colleague = app.person(&owner.colleague(Role::Member));
    let theirs = colleague.post("/v1/runs/resume", &which).await.expect(202);
    let done = api.post("/v1/runs/resume", &which).await.expect(202);

    assert_eq!(theirs, json!({ "resumed": 0, "more": false }), "they see none of them");
    assert_eq!(done, json!({ "resumed": 2, "more": false }));
    for run in &runs[..2] {
        scene::until(&api, run, "waiting").await;
    }
    assert_eq!(scene::get(&api, &runs[2]).await["status"], "paused");
    let all = api.post("/v1/runs/resume", &json!({ "status": "paused" })).await.expect(202);
    assert_eq!(all["resumed"], 1);
    for bad in [json!({}), json!({ "status": "waiting" }), json!({ "agent_id": "x" })] {
        assert!(matches!(api.post("/v1/runs/resume", &bad).await.status, 400 | 422), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swarm_stops_in_all_its_branches_and_goes_on_in_all_of_them() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let (server, gate) = gated(3).await;
    let mut members = Vec::new();
    for name in ["a", "b"] {
        let agent = long(&api, name, &server).await;
        members.push(json!({ "kind": "agent", "agent_id": agent, "name": name }));
    }
    let swarm = json!({ "name": "s", "flow": "(a | b)", "members": members });
    let swarm = api.post("/v1/swarms", &swarm).await.expect(201);
    let body = json!({ "swarm_id": swarm["swarm_id"], "input": "go" });
    let made = api.post("/v1/runs", &body).await.expect(201);
    let run = made["run_id"].as_str().unwrap();
    // Each of the two has a call at the gate.
    calls(&server, 5).await;

    pause(&api, run).await;
    gate.0.open();
    scene::until(&api, run, "paused").await;
    swept(&app).await;
    assert_eq!(server.requests().len(), 5);
    resume(&api, run).await;

    scene::until(&api, run, "succeeded").await;
    assert_eq!(server.requests().len(), 2 * LONG);
}

#[tokio::test]
async fn a_pause_survives_the_process_that_was_told() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let server = fine().await;
    let agent = long(&api, "a", &server).await;
    let first = app.node().await;
    let run = scene::start(&api, &agent).await;
    calls(&server, 2).await;
    first.kill();
    pause(&api, &run).await;

    let _second = app.node().await;

    scene::until(&api, &run, "paused").await;
    resume(&api, &run).await;
    scene::until(&api, &run, "succeeded").await;
    let kinds = scene::kinds(&app.db, &run).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "tool_answered").count(), LONG);
}

#[tokio::test]
async fn endpoints_are_told_of_all_that_a_run_goes_through_its_pause_included() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let hooks = fine().await;
    crate::webhooks::endpoint(&api, &hooks.url(), &[]).await;
    let agent = asking(&api, "a").await;
    let run = scene::start(&api, &agent).await;
    scene::until(&api, &run, "waiting").await;
    pause(&api, &run).await;
    scene::until(&api, &run, "paused").await;
    resume(&api, &run).await;
    scene::until(&api, &run, "waiting").await;
    api.post(&format!("/v1/runs/{run}/input"), &json!({ "answer": "yes" })).await.expect(202);

    // One may come twice.
    let kinds = ["created", "started", "waiting", "paused", "resumed", "finished"];
    let wanted: BTreeSet<String> = kinds.map(|kind| format!("run.{kind}")).into();
    eventually("a message of each kind", async || {
        let bodies: Vec<Value> = hooks.requests().iter().map(testkit::Stubbed::json).collect();
        let told: BTreeSet<String> =
            bodies.iter().map(|body| body["type"].as_str().unwrap().to_owned()).collect();
        for body in &bodies {
            assert_eq!(body["data"]["run_id"], run, "{body}");
            // After a wait nobody lets it go on but whoever has ended that.
            let paused = ["run.paused", "run.resumed"].contains(&body["type"].as_str().unwrap());
            if paused && body["data"]["after"].is_null() {
                assert_eq!(body["data"]["by"], owner.user.to_string(), "{body}");
            }
        }
        (told == wanted).then_some(())
    })
    .await;
}
