//! What is forgotten of runs, and what never is.

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use testkit::{Api, eventually};

use crate::harness::TestApp;
use crate::scene;

const OFTEN: (&str, &str) = ("SWITCHYARD_PRUNE_MS", "50");

/// A run that has ended, with a call of a tool.
async fn ended(app: &TestApp, api: &Api, name: &str) -> String {
    let turns = json!([{ "text": name }]);
    let agent = scene::scripted(api, name, &turns).await;
    let run = scene::start(api, &agent).await;
    scene::until(api, &run, "succeeded").await;
    // As a tool call would have left it.
    let effect = "insert into engine.effect
            (run_id, call_id, tenant_id, tool_name, class, idempotency_key, timeout_ms, state, reason)
        select run_id, 'c', tenant_id, 't', 'unsafe', gen_random_uuid(), 1, 'done', 'said'
        from engine.run where run_id = $1::uuid";
    sqlx::query(effect).bind(scene::bare(&run)).execute(&mut app.db.admin().await).await.unwrap();
    run
}

/// Lets everything about the run be so many days ago.
async fn age(app: &TestApp, run: &str, days: i32) {
    sqlx::query(
        "update engine.run
         set created_at = now() - make_interval(days => $2), started_at = now() - make_interval(days => $2),
             finished_at = case when finished_at is not null then now() - make_interval(days => $2) end
         where run_id = $1::uuid",
    )
    .bind(scene::bare(run))
    .bind(days)
    .execute(&mut app.db.admin().await)
    .await
    .unwrap();
}

/// Rows of the run in each table that holds any.
async fn rows(app: &TestApp, run: &str) -> Vec<i64> {
    let mut counts = Vec::new();
    for (table, column) in [
        ("run", "run_id"),
        ("effect", "run_id"),
        ("journal", "run_id"),
        ("content", "root_run_id"),
        ("run_snapshot", "run_id"),
        ("run_timer", "run_id"),
    ] {
        let sql = format!("select count(*) from engine.{table} where {column} = $1::uuid");
        let count = sqlx::query_scalar(AssertSqlSafe(sql)).bind(scene::bare(run));
        counts.push(count.fetch_one(&mut app.db.admin().await).await.unwrap());
    }
    counts
}

async fn until_forgotten(api: &Api, run: &str) -> Value {
    eventually("the content to be forgotten", async || {
        let run = scene::get(api, run).await;
        run["content_pruned_at"].is_string().then_some(run)
    })
    .await
}

#[tokio::test]
async fn an_old_run_loses_its_content_and_much_later_its_row_and_both_are_said_clearly() {
    let app = TestApp::start_with(&[OFTEN]).await;
    let api = app.person(&app.trust.owner());
    let (old, young) = (ended(&app, &api, "old").await, ended(&app, &api, "young").await);
    age(&app, &young, 29).await;
    let whole = rows(&app, &young).await;
    age(&app, &old, 31).await;

    let seen = until_forgotten(&api, &old).await;

    assert_eq!((&seen["status"], &seen["output"]), (&json!("succeeded"), &Value::Null));
    assert_eq!(rows(&app, &old).await, [1, 1, 0, 0, 0, 0]);
    for path in ["messages", "events"] {
        let refused = api.get(&format!("/v1/runs/{old}/{path}")).await;
        assert_eq!(refused.refusal(), (410, "run_pruned"), "{path}");
    }
    let effects = api.get(&format!("/v1/runs/{old}/effects")).await.expect(200);
    assert_eq!(effects["items"][0]["state"], "done");
    assert_eq!(rows(&app, &young).await, whole);
    api.get(&format!("/v1/runs/{young}/messages")).await.expect(200);

    age(&app, &old, 401).await;
    eventually("the run to be forgotten", async || {
        (rows(&app, &old).await == [0; 6]).then_some(())
    })
    .await;
    assert_eq!(api.get(&format!("/v1/runs/{old}")).await.refusal(), (404, "run_not_found"));
    assert_eq!(rows(&app, &young).await, whole);
}

#[tokio::test]
async fn a_run_that_has_not_ended_or_is_in_doubt_or_has_children_under_way_loses_nothing() {
    let app = TestApp::start_with(&[OFTEN]).await;
    let api = app.person(&app.trust.owner());
    let agent = scene::scripted(&api, "slow", &json!([{ "text": "x", "delay_ms": 60_000 }])).await;
    let running = scene::start(&api, &agent).await;
    scene::until(&api, &running, "running").await;
    let (doubtful, parent) = (ended(&app, &api, "doubt").await, ended(&app, &api, "parent").await);
    let plain = ended(&app, &api, "plain").await;
    let mut admin = app.db.admin().await;
    sqlx::query("update engine.effect set state = 'in_doubt' where run_id = $1::uuid")
        .bind(scene::bare(&doubtful))
        .execute(&mut admin)
        .await
        .unwrap();
    sqlx::query(
        "insert into engine.run
         select (jsonb_populate_record(r, jsonb_build_object('run_id', gen_random_uuid(), 'status', 'waiting',
             'wait_reason', 'input', 'parent_run_id', r.run_id, 'finished_at', null))).*
         from engine.run r where run_id = $1::uuid",
    )
    .bind(scene::bare(&parent))
    .execute(&mut admin)
    .await
    .unwrap();
    let kept = [&running, &doubtful, &parent];
    let mut before = Vec::new();
    for run in kept {
        age(&app, run, 1000).await;
        before.push(rows(&app, run).await);
    }

    // The oldest first: when this one is gone, the others have been looked at.
    age(&app, &plain, 500).await;
    eventually("the run to be forgotten", async || {
        (rows(&app, &plain).await == [0; 6]).then_some(())
    })
    .await;

    for (run, before) in kept.into_iter().zip(before) {
        assert_eq!(rows(&app, run).await, before, "{run}");
    }
}

#[tokio::test]
async fn a_backlog_of_old_runs_is_forgotten_in_batches_by_several_processes() {
    let app = TestApp::start_with(&[OFTEN, ("SWITCHYARD_RUN_DAYS", "30")]).await;
    let api = app.person(&app.trust.owner());
    let run = ended(&app, &api, "a").await;
    let (_one, _two) = (app.node_with(&[OFTEN]).await, app.node_with(&[OFTEN]).await);
    let mut admin = app.db.admin().await;

    sqlx::query(
        "insert into engine.run
         select (jsonb_populate_record(r, jsonb_build_object('run_id', copy.id, 'root_run_id', copy.id,
             'finished_at', now() - interval '31 days'))).*
         from engine.run r, (select gen_random_uuid() as id from generate_series(1, 3000)) copy
         where r.run_id = $1::uuid",
    )
    .bind(scene::bare(&run))
    .execute(&mut admin)
    .await
    .unwrap();

    eventually("all but the young run to be forgotten", async || {
        let left: i64 = sqlx::query_scalar("select count(*) from engine.run")
            .fetch_one(&mut app.db.admin().await)
            .await
            .unwrap();
        (left == 1).then_some(())
    })
    .await;
    assert_eq!(scene::get(&api, &run).await["output"], "a");
}
