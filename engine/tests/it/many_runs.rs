//! Telling a great many runs the same.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use testkit::{Api, TestDb, eventually_within};

use crate::cases::case;
use crate::evaluations::evaluate;
use crate::harness::TestApp;
use crate::scene;

const MANY: i64 = 1200;
/// Even a busy machine is done by then.
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent, and so many runs of it that have not begun: one of them was asked for, the others are copies of it.
async fn queued(app: &TestApp, api: &Api) -> String {
    let agent = scene::agent(api, &json!({ "name": "many", "model": "sim:echo" })).await;
    let run = scene::start(api, &agent).await;
    let mut admin = app.db.admin().await;
    let copies =
        "create temporary table copy as select gen_random_uuid() as id from generate_series(2, $1)";
    sqlx::query(copies).bind(MANY).execute(&mut admin).await.unwrap();
    for (table, keys) in [
        ("run", &["run_id", "root_run_id"][..]),
        ("run_snapshot", &["run_id"]),
        ("run_timer", &["run_id"]),
        ("journal", &["run_id"]),
        ("content", &["root_run_id"]),
    ] {
        let key = keys.last().unwrap();
        let new: Vec<String> = keys.iter().map(|key| format!("'{key}', copy.id")).collect();
        let new = new.join(", ");
        let sql = format!(
            "insert into engine.{table}
             select (jsonb_populate_record(r, jsonb_build_object({new}))).*
             from engine.{table} r, copy where r.{key} = $1::uuid"
        );
        let copied = sqlx::query(AssertSqlSafe(sql)).bind(scene::bare(&run)).execute(&mut admin);
        assert!(copied.await.unwrap().rows_affected() >= (MANY - 1).cast_unsigned(), "{table}");
    }
    agent
}

/// How many runs have this status.
async fn with_status(db: &TestDb, status: &str) -> i64 {
    sqlx::query_scalar("select count(*) from engine.run where status = $1")
        .bind(status)
        .fetch_one(&mut db.admin().await)
        .await
        .unwrap()
}

/// How many signals of this kind runs have, and how many runs have one.
async fn told(db: &TestDb, kind: &str) -> (i64, i64) {
    sqlx::query_as(
        "select count(*), count(distinct run_id) from engine.run_signal where signal ->> 'signal' = $1",
    )
    .bind(kind)
    .fetch_one(&mut db.admin().await)
    .await
    .unwrap()
}

/// Asks as often as it is said that there are more; gives what was done each time.
async fn all(api: &Api, what: &str, done: &str, which: &Value) -> Vec<u64> {
    let mut counts = Vec::new();
    loop {
        let answer = api.post(&format!("/v1/runs/{what}"), which).await.expect(202);
        counts.push(answer[done].as_u64().unwrap());
        if answer["more"] == false {
            return counts;
        }
    }
}

/// An engine that carries out no runs, and looks for none that have been told something.
async fn still() -> TestApp {
    TestApp::start_with(&[("SWITCHYARD_RUN_SLOTS", "0"), ("SWITCHYARD_SWEEP_MS", "86400000")]).await
}

#[tokio::test]
async fn more_runs_than_one_request_stops_are_all_told_to_stop_each_once() {
    let app = still().await;
    let api = app.person(&app.trust.owner());
    let agent = queued(&app, &api).await;
    let stand_still = "update engine.run set status = 'waiting', wait_reason = 'input'
        where run_id in (select run_id from engine.run order by run_id limit 400);
        update engine.run set status = 'paused'
        where run_id in (select run_id from engine.run order by run_id desc limit 400)";
    sqlx::raw_sql(stand_still).execute(&mut app.db.admin().await).await.unwrap();
    let which = json!({ "agent_id": agent });

    let stopped = all(&api, "cancel", "cancelled", &which).await;

    assert_eq!(stopped, [500, 500, 200]);
    assert_eq!(told(&app.db, "cancel").await, (MANY, MANY));
    assert_eq!(with_status(&app.db, "queued").await, MANY, "somebody is to end them");
    assert_eq!(all(&api, "cancel", "cancelled", &which).await, [0], "all have been told");
}

#[tokio::test]
async fn more_runs_than_one_request_resumes_all_go_on_but_those_that_have_been_told_already() {
    let app = still().await;
    let api = app.person(&app.trust.owner());
    let agent = queued(&app, &api).await;
    let mut admin = app.db.admin().await;
    sqlx::raw_sql("update engine.run set status = 'paused'").execute(&mut admin).await.unwrap();
    // Somebody has told these to go on already, and nobody has written it down.
    let told_before = "insert into engine.run_signal (run_id, tenant_id, signal)
        select run_id, tenant_id, '{\"signal\": \"resume\"}' from engine.run order by created_at, run_id limit 3";
    sqlx::raw_sql(told_before).execute(&mut admin).await.unwrap();

    let resumed = all(&api, "resume", "resumed", &json!({ "agent_id": agent })).await;

    assert_eq!(resumed.iter().sum::<u64>(), MANY.cast_unsigned() - 3, "{resumed:?}");
    assert!(resumed.iter().all(|count| *count <= 500), "{resumed:?}");
    assert_eq!(told(&app.db, "resume").await, (MANY, MANY));
    assert_eq!(with_status(&app.db, "paused").await, 3);
    assert_eq!(with_status(&app.db, "queued").await, MANY - 3);
}

/// Lets the request wait for a run that the test holds, having told the others; then breaks it off.
#[tokio::test]
async fn a_cancel_of_an_evaluation_that_breaks_off_in_the_middle_is_finished_by_the_next_one() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let slow = json!([{ "text": "x", "delay_ms": 600_000 }]);
    let agent = scene::scripted(&api, "a", &slow).await;
    for n in 0..4 {
        case(&api, &agent, &json!({ "name": format!("case {n}"), "input": "go" })).await;
    }
    let evaluation = evaluate(&api, &agent, &json!({ "concurrency": 3 })).await;
    let path = format!("/v1/evaluations/{evaluation}");
    let runs = eventually_within(PATIENCE, "three cases to be under way", async || {
        let report = api.get(&path).await.expect(200);
        let results = report["results"].as_array().unwrap().clone();
        let runs = results.iter().filter_map(|result| result["run_id"].as_str().map(str::to_owned));
        let runs: Vec<String> = runs.collect();
        (runs.len() == 3).then_some(runs)
    })
    .await;
    // Nobody writes to them any more.
    for run in &runs {
        eventually_within(PATIENCE, "the model to be called", async || {
            let kinds = scene::kinds(&app.db, run).await;
            kinds.contains(&"model_called".to_owned()).then_some(())
        })
        .await;
    }
    // A token lasts for a minute.
    let api = app.person(&owner);
    let mut holder = app.db.admin().await;
    sqlx::raw_sql("begin").execute(&mut holder).await.unwrap();
    let pid = scene::pid(&mut holder).await;
    scene::lock(&mut holder, &runs[1]).await;
    let (cancel, nothing) = (format!("{path}/cancel"), json!({}));

    tokio::select! {
        answer = api.post(&cancel, &nothing) => panic!("it waits for the run: {}", answer.text),
        () = scene::somebody_waits_for(&app.db, pid) => {}
    }
    let api = app.person(&owner);
    for run in [&runs[0], &runs[2]] {
        scene::until(&api, run, "cancelled").await;
    }
    sqlx::raw_sql("rollback").execute(&mut holder).await.unwrap();
    let report = api.get(&path).await.expect(200);
    assert_eq!((&report["status"], &report["counts"]["open"]), (&json!("cancelled"), &json!(4)));
    assert_eq!(told(&app.db, "cancel").await, (2, 2));
    assert_eq!(scene::get(&api, &runs[1]).await["status"], "running", "nobody has told it");

    let api = app.person(&owner);
    api.post(&cancel, &nothing).await.expect(200);

    scene::until(&api, &runs[1], "cancelled").await;
    let report = api.get(&path).await.expect(200);
    assert_eq!(report["results"][3]["run_id"], Value::Null, "nothing more was begun");
    assert_eq!(told(&app.db, "cancel").await, (3, 3), "those that have ended are told nothing");
}
