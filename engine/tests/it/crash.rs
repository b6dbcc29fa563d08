//! Processes that die, at any record of a run.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Answer, Api, Stub, eventually};

use crate::harness::TestApp;
use crate::scene;

/// A server that takes its time, so that a process can die while it is asked.
async fn slow(millis: u64) -> Stub {
    let answer = Answer::Json(200, json!("fine"));
    Stub::start(move |_| Answer::After(Duration::from_millis(millis), Box::new(answer.clone())))
        .await
}

async fn journal_reaches(app: &TestApp, run: &str, records: usize) {
    eventually("the journal to go on", async || {
        (scene::kinds(&app.db, run).await.len() >= records).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_run_survives_the_death_of_its_worker_at_each_of_its_records() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let server = slow(80).await;
    let turns = json!([
        { "tool_calls": [{ "name": "look", "arguments": {} }], "delay_ms": 60 },
        { "text": "told: {{last_tool_result}}", "delay_ms": 60 },
    ]);
    let agent = scene::scripted(&api, "a", &turns).await;
    scene::tool(&api, &agent, "look", &server.url(), "read").await;

    for records in 2..=9 {
        let run = scene::start(&api, &agent).await;
        let first = app.node().await;
        journal_reaches(&app, &run, records).await;
        first.kill();
        let second = app.node().await;

        let ended = scene::until(&api, &run, "succeeded").await;

        assert_eq!(ended["output"], "told: \"fine\"", "killed after {records} records");
        let kinds = scene::kinds(&app.db, &run).await;
        assert_eq!(kinds.iter().filter(|kind| *kind == "finished").count(), 1, "{kinds:?}");
        assert_eq!(kinds.iter().filter(|kind| *kind == "tool_answered").count(), 1, "{kinds:?}");
        let events = scene::records(&scene::stream(&api, &run, 0).await);
        let seqs: Vec<i64> = events.iter().map(|(seq, ..)| *seq).collect();
        assert_eq!(seqs, (1..=seqs.len() as i64).collect::<Vec<_>>(), "no gap");
        second.kill();
    }
}

/// Starts a run of a one-tool agent, kills its worker while the tool is asked, and starts another.
async fn killed_in_the_tool(
    app: &TestApp,
    api: &Api,
    server: &Stub,
    effect: &str,
) -> (String, crate::harness::Node) {
    let agent = scene::scripted(api, effect, &scene::calls(&["act"])).await;
    scene::tool(api, &agent, "act", &server.url(), effect).await;
    let first = app.node().await;
    let run = scene::start(api, &agent).await;
    eventually("the call", async || (!server.requests().is_empty()).then_some(())).await;
    first.kill();
    (run, app.node().await)
}

#[tokio::test]
async fn a_read_is_repeated_after_a_crash() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let server = slow(300).await;

    let (run, _node) = killed_in_the_tool(&app, &api, &server, "read").await;

    scene::until(&api, &run, "succeeded").await;
    assert_eq!(server.requests().len(), 2);
    assert!(scene::kinds(&app.db, &run).await.contains(&"tool_repeated".to_owned()));
}

#[tokio::test]
async fn a_keyed_call_is_repeated_with_the_same_key_after_a_crash() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let server = slow(300).await;

    let (run, _node) = killed_in_the_tool(&app, &api, &server, "keyed").await;

    scene::until(&api, &run, "succeeded").await;
    let keys: Vec<String> =
        server.requests().iter().map(|seen| seen.header("idempotency-key").to_owned()).collect();
    assert_eq!(keys.len(), 2);
    assert!(!keys[0].is_empty() && keys[0] == keys[1], "{keys:?}");
}

#[tokio::test]
async fn an_unsafe_call_is_asked_about_after_a_crash_and_never_made_twice() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let server = slow(300).await;

    let (run, _node) = killed_in_the_tool(&app, &api, &server, "unsafe").await;

    let doubt = eventually("the doubt", async || {
        let run = scene::get(&api, &run).await;
        (run["wait_reason"] == "doubt").then_some(run)
    })
    .await;
    let call = doubt["in_doubt"][0]["call_id"].as_str().unwrap();
    let path = format!("/v1/runs/{run}/effects/{call}/answer");
    let answer = json!({ "outcome": "happened", "result": "sent" });
    assert_eq!(api.post(&path, &answer).await.status, 202);
    let ended = scene::until(&api, &run, "succeeded").await;
    assert_eq!(ended["output"], "told: sent");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_process_that_stops_orderly_hands_its_runs_over() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let turns = json!([{ "tool_calls": [{ "name": "x" }], "delay_ms": 300 }, { "text": "done", "delay_ms": 300 }]);
    let agent = scene::scripted(&api, "a", &turns).await;
    let first = app.node().await;
    let run = scene::start(&api, &agent).await;
    journal_reaches(&app, &run, 4).await;
    let second = app.node_with(&[("SWITCHYARD_WORKER_LEASE_MS", "60000")]).await;

    first.drain().await;

    let ended = scene::until(&api, &run, "succeeded").await;
    assert_eq!(ended["output"], "done");
    drop(second);
}

#[tokio::test]
async fn a_worker_whose_run_was_taken_is_refused() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let server = slow(0).await;
    let turns =
        json!([{ "tool_calls": [{ "name": "act" }], "delay_ms": 3_000 }, { "text": "done" }]);
    let agent = scene::scripted(&api, "a", &turns).await;
    scene::tool(&api, &agent, "act", &server.url(), "unsafe").await;
    let _node = app.node().await;
    let run = scene::start(&api, &agent).await;
    journal_reaches(&app, &run, 4).await;

    // Somebody else takes the run while its owner waits for the model.
    let mut admin = app.db.admin().await;
    sqlx::query("update engine.run set epoch = epoch + 1, worker_id = gen_random_uuid() where run_id = $1::uuid")
        .bind(scene::bare(&run))
        .execute(&mut admin)
        .await
        .unwrap();

    // That somebody is not alive: the run comes back, and the first owner's answer was not taken.
    let ended = scene::until(&api, &run, "succeeded").await;
    assert_eq!(ended["output"], "done");
    assert_eq!(server.requests().len(), 1);
    let kinds = scene::kinds(&app.db, &run).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "model_replied").count(), 2, "{kinds:?}");
    assert!(kinds.contains(&"resumed".to_owned()));
}

#[tokio::test]
async fn a_run_that_takes_its_workers_down_is_given_up() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let body: Value = json!({ "agent": "a", "input": "x" });
    let run = api.post("/v1/runs", &body).await.expect(201)["run_id"].as_str().unwrap().to_owned();
    let mut admin = app.db.admin().await;
    sqlx::query("update engine.run set claims = 5 where run_id = $1::uuid")
        .bind(scene::bare(&run))
        .execute(&mut admin)
        .await
        .unwrap();

    sqlx::query(
        "insert into engine.effect
             (run_id, call_id, tenant_id, tool_name, class, idempotency_key, timeout_ms, state, sent_at)
         select run_id, 'c1', tenant_id, 'pay', 'unsafe', run_id, 1000, 'sent', now()
         from engine.run where run_id = $1::uuid",
    )
    .bind(scene::bare(&run))
    .execute(&mut admin)
    .await
    .unwrap();

    let _node = app.node().await;

    let ended = scene::until(&api, &run, "failed").await;
    assert_eq!(ended["error"]["code"], "poison");
    assert_eq!(ended["in_doubt"][0]["call_id"], "c1", "what may have happened stays visible");
}

#[tokio::test]
async fn a_run_that_nothing_works_on_is_put_back_although_its_worker_lives() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let agent = scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let run = scene::start(&api, &agent).await;
    let mut admin = app.db.admin().await;
    eventually("the worker's first heartbeat", async || {
        let owned = sqlx::query(
            "update engine.run set status = 'running', epoch = 1, worker_id = w.worker_id
             from engine.worker w where run_id = $1::uuid",
        )
        .bind(scene::bare(&run))
        .execute(&mut admin)
        .await
        .unwrap();
        (owned.rows_affected() == 1).then_some(())
    })
    .await;

    let _node = app.node().await;

    scene::until(&api, &run, "succeeded").await;
}
