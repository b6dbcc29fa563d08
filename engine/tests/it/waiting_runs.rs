//! Runs that wait cost a row, and nothing of the process that had them.

use serde_json::json;
use shared_models::Service;
use testkit::{Answer, Stub, eventually_within};

use crate::harness::TestApp;
use crate::pausing::asking;
use crate::scene;

const RUNS: usize = 120;

#[tokio::test]
async fn runs_that_wait_hold_no_task_no_connection_and_no_message() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|_| {
        // Otherwise a connection is kept for the next call.
        Answer::Raw(202, vec![("connection".into(), "close".into())], b"taken".to_vec())
    })
    .await;
    let asker = asking(&api, "asker").await;
    let caller = scene::scripted(&api, "caller", &scene::calls(&["work"])).await;
    let fields = json!({ "name": "work", "kind": "http", "effect": "unsafe",
        "parameters": { "type": "object", "properties": { "n": {} } },
        "config": { "method": "POST", "url": server.url(), "callback": {} } });
    let tool = api.post("/v1/tools", &fields).await.expect(201);
    let path = format!("/v1/agents/{caller}/tools/{}", tool["tool_id"].as_str().unwrap());
    api.put(&path, &json!({})).await.expect(200);
    let node = app.node().await;
    // One of each first, so that whatever is opened once is open.
    for agent in [&asker, &caller] {
        let run = scene::start(&api, agent).await;
        scene::until(&api, &run, "waiting").await;
    }

    for n in 0..RUNS {
        scene::start(&api, if n % 2 == 0 { &asker } else { &caller }).await;
    }

    let limit = std::time::Duration::from_secs(60);
    eventually_within(limit, "all runs to wait", async || {
        let (waiting, owned): (i64, i64) = sqlx::query_as(
            "select count(*) filter (where status = 'waiting'), count(worker_id) from engine.run",
        )
        .fetch_one(&mut app.db.admin().await)
        .await
        .unwrap();
        (waiting == RUNS as i64 + 2 && owned == 0).then_some(())
    })
    .await;
    // A process with nothing to do has some dozens of tasks of its own.
    eventually_within(limit, "the process to have fewer tasks than runs", async || {
        (node.tasks() < RUNS / 2).then_some(())
    })
    .await;
    let connections: i64 = sqlx::query_scalar(
        "select count(*) from pg_stat_activity where datname = current_database() and usename like 'engine%'",
    )
    .fetch_one(&mut app.db.admin().await)
    .await
    .unwrap();
    assert!(connections < (RUNS / 2) as i64, "{connections} connections");
    eventually_within(limit, "every message to be done with", async || {
        (app.nats.open_messages(Service::Engine).await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_run_whose_turn_has_come_while_the_process_that_had_it_died_is_found_by_a_sweep() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let held = api.post("/v1/conversations", &json!({ "agent": "a" })).await.expect(201);
    let say = json!({ "conversation_id": held["conversation_id"], "input": "well?" });
    let first = api.post("/v1/runs", &say).await.expect(201);
    let second = api.post("/v1/runs", &say).await.expect(201);
    assert_eq!(second["wait_reason"], "turn", "{second}");

    // The first has ended while a process had the second one, and that has died as it put it to rest.
    sqlx::query(
        "update engine.run set status = 'cancelled', finish_reason = 'cancelled', finished_at = now(), remembered = true
         where run_id = $1::uuid",
    )
    .bind(scene::bare(first["run_id"].as_str().unwrap()))
    .execute(&mut app.db.admin().await)
    .await
    .unwrap();
    let _node = app.node().await;

    let ended = scene::until(&api, second["run_id"].as_str().unwrap(), "succeeded").await;
    assert_eq!(ended["output"], "well?");
}
