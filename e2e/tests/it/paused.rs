//! A paused machine: an engine that is stopped past its lease and continued later has no say any more.

use std::time::Duration;

use e2e::{Fleet, Scene, follow};
use nix::sys::signal::Signal;
use serde_json::json;
use shared_models::{RunId, Service};
use sqlx::{PgPool, types::Uuid};
use testkit::{Answer, Stub, eventually_within};

const REFUSED: &str = "the run belongs to another worker now";

/// The run's status and epoch, from the database: the stopped engine cannot be asked.
async fn standing(db: &PgPool, run: Uuid) -> (String, i32) {
    sqlx::query_as("select status, epoch from engine.run where run_id = $1")
        .bind(run)
        .fetch_one(db)
        .await
        .unwrap()
}

async fn at(db: &PgPool, run: Uuid, status: &str, epoch: i32) {
    let what = format!("the run to be {status} in epoch {epoch}");
    eventually_within(Duration::from_secs(60), &what, async || {
        (standing(db, run).await == (status.to_owned(), epoch)).then_some(())
    })
    .await;
}

/// Starts a run whose model takes its time, stops its engine there, and lets another take over. `continue_at` is when the
/// stopped one goes on.
async fn stopped_during_the_model_call(continue_at: (&str, i32)) {
    let outside = Stub::start(|_| Answer::Json(200, json!({ "ok": true }))).await;
    let allow = format!("127.0.0.1:{}", outside.port());
    let settings = [("SWITCHYARD_EGRESS_ALLOW", &*allow), ("SWITCHYARD_WORKER_LEASE_MS", "2000")];
    let mut fleet = Fleet::start(&settings).await;
    let turns = json!([
        { "tool_calls": [{ "name": Scene::tool_name("paused"), "arguments": { "text": "go" } }],
          "delay_ms": 2500 },
        { "text": "done", "delay_ms": 500 },
    ]);
    let (api, url) = (fleet.api(), format!("{}/act", outside.url()));
    let scene =
        Scene::make(&api, &fleet.tenant, "paused", "unsafe", &url, "secret-secret-7", &turns).await;
    let db = PgPool::connect(&fleet.postgres.admin_url()).await.unwrap();

    let run = scene.run("go").await;
    let id = run.parse::<RunId>().unwrap().uuid();
    // Its first record is there: what it does next is to ask the model.
    eventually_within(Duration::from_secs(30), "the run to begin", async || {
        let began = sqlx::query("select from engine.journal where run_id = $1 and epoch = 1");
        began.bind(id).fetch_optional(&db).await.unwrap()
    })
    .await;
    fleet.process("engine").signal(Signal::SIGSTOP);
    assert_eq!(outside.hits("/act"), 0, "stopped too late to prove anything");
    fleet.launch_replica("engine-2", Service::Engine);
    at(&db, id, continue_at.0, continue_at.1).await;
    fleet.process("engine").signal(Signal::SIGCONT);

    eventually_within(Duration::from_secs(30), "the first engine to be refused", async || {
        fleet.process("engine").log().contains(REFUSED).then_some(())
    })
    .await;
    at(&db, id, "succeeded", 2).await;
    assert_eq!(outside.hits("/act"), 1, "the tool was called by both");
    let epochs: Vec<(i64, i32)> =
        sqlx::query_as("select seq, epoch from engine.journal where run_id = $1 order by seq")
            .bind(id)
            .fetch_all(&db)
            .await
            .unwrap();
    assert!(epochs.is_sorted_by_key(|(_, epoch)| *epoch), "an old epoch wrote late: {epochs:?}");
    let events = follow(&fleet.url(), &fleet.key, &run).await;
    assert_eq!(events.len(), epochs.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_continued_right_before_a_call_that_may_be_repeated_does_not_send_it() {
    let outside = Stub::start(|_| Answer::Json(200, json!({ "ok": true }))).await;
    let allow = format!("127.0.0.1:{}", outside.port());
    let settings = [("SWITCHYARD_EGRESS_ALLOW", &*allow), ("SWITCHYARD_WORKER_LEASE_MS", "2000")];
    let mut fleet = Fleet::start(&settings).await;
    let call = json!({ "name": Scene::tool_name("late"), "arguments": { "text": "go" } });
    let turns = json!([{ "tool_calls": [call] }, { "text": "done" }]);
    let (api, url) = (fleet.api(), format!("{}/act", outside.url()));
    let scene =
        Scene::make(&api, &fleet.tenant, "late", "idempotent", &url, "secret-secret-8", &turns)
            .await;
    let db = PgPool::connect(&fleet.postgres.admin_url()).await.unwrap();

    // The call waits for its credential, so nothing of it has left when its engine is stopped.
    fleet.process("credsvc").signal(Signal::SIGSTOP);
    let run = scene.run("go").await;
    let id = run.parse::<RunId>().unwrap().uuid();
    eventually_within(Duration::from_secs(30), "the call to be intended", async || {
        let intended = sqlx::query("select from engine.effect where run_id = $1");
        intended.bind(id).fetch_optional(&db).await.unwrap()
    })
    .await;
    fleet.process("engine").signal(Signal::SIGSTOP);
    fleet.process("credsvc").signal(Signal::SIGCONT);
    fleet.launch_replica("engine-2", Service::Engine);
    at(&db, id, "succeeded", 2).await;
    assert_eq!(outside.hits("/act"), 1);
    fleet.process("engine").signal(Signal::SIGCONT);

    // Its credential is there now, and it goes on as if nothing had happened; only the lease keeps the call back.
    eventually_within(Duration::from_secs(30), "the first engine to be refused", async || {
        fleet.process("engine").log().contains(REFUSED).then_some(())
    })
    .await;
    assert_eq!(outside.hits("/act"), 1, "the tool was called by both");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_continued_after_another_has_ended_its_run_writes_and_sends_nothing() {
    stopped_during_the_model_call(("succeeded", 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_continued_while_another_drives_its_run_writes_and_sends_nothing() {
    stopped_during_the_model_call(("running", 2)).await;
}
