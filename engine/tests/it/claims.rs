//! Who gets a worker, and how many.

use serde_json::{Value, json};
use testkit::Api;

use crate::harness::TestApp;
use crate::pausing::{asking, swept};
use crate::scene;

async fn sleepers(api: &Api, limits: &Value, count: usize) -> Vec<String> {
    let turns = json!([{ "text": "done", "delay_ms": 60_000 }]);
    let body = json!({ "name": "a", "model": "sim:script", "limits": limits,
        "instructions": scene::script(&turns) });
    let agent = scene::agent(api, &body).await;
    let mut runs = Vec::new();
    for _ in 0..count {
        runs.push(scene::start(api, &agent).await);
    }
    runs
}

async fn running(api: &Api) -> usize {
    let page = api.get("/v1/runs?status=running").await.expect(200);
    page["items"].as_array().unwrap().len()
}

/// Waits until nothing more is claimed: every engine has looked at the queue since.
async fn settled(api: &Api, expected: usize) {
    testkit::eventually("the expected number of runs", async || {
        (running(api).await == expected).then_some(())
    })
    .await;
    for _ in 0..20 {
        assert!(running(api).await <= expected, "the limit was exceeded");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_tenant_has_no_more_runs_under_way_than_its_limit() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    sleepers(&api, &json!({}), 5).await;

    let limit = [("SWITCHYARD_TENANT_RUNS", "3")];
    let (_one, _two) = (app.node_with(&limit).await, app.node_with(&limit).await);

    settled(&api, 3).await;
}

#[tokio::test]
async fn an_agent_has_no_more_runs_under_way_than_its_limit() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    sleepers(&api, &json!({ "max_concurrent_runs": 2 }), 5).await;

    let (_one, _two) = (app.node().await, app.node().await);

    settled(&api, 2).await;
}

#[tokio::test]
async fn a_backlog_of_one_tenant_does_not_keep_another_waiting() {
    let app = TestApp::without_workers().await;
    let (busy, quiet) = (app.person(&app.trust.owner()), app.person(&app.trust.owner()));
    sleepers(&busy, &json!({}), 10).await;
    sleepers(&quiet, &json!({}), 2).await;

    let _node = app.node_with(&[("SWITCHYARD_RUN_SLOTS", "4")]).await;

    settled(&quiet, 2).await;
    settled(&busy, 2).await;
}

#[tokio::test]
async fn what_an_agents_own_limit_holds_back_does_not_keep_the_tenants_other_agents_waiting() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    sleepers(&api, &json!({ "max_concurrent_runs": 1 }), 1).await;
    // Many more than one claim looks at, all older than the other agent's.
    sqlx::query(
        "insert into engine.run
         select (jsonb_populate_record(r, jsonb_build_object('run_id', copy.id, 'root_run_id', copy.id,
             'queued_at', r.queued_at + interval '1 microsecond'))).*
         from engine.run r, (select gen_random_uuid() as id from generate_series(1, 1000)) copy",
    )
    .execute(&mut app.db.admin().await)
    .await
    .unwrap();
    let other = scene::agent(&api, &json!({ "name": "other", "model": "sim:echo" })).await;
    let late = scene::start(&api, &other).await;

    let _node = app.node().await;

    scene::until(&api, &late, "succeeded").await;
    settled(&api, 1).await;
}

#[tokio::test]
async fn a_queued_run_can_be_cancelled_although_its_tenant_is_at_its_limit() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let runs = sleepers(&api, &json!({}), 3).await;
    let _node = app.node_with(&[("SWITCHYARD_TENANT_RUNS", "1")]).await;
    settled(&api, 1).await;

    let last = &runs[2];
    api.post(&format!("/v1/runs/{last}/cancel"), &json!({})).await.expect(202);

    scene::until(&api, last, "cancelled").await;
    settled(&api, 1).await;
}

#[tokio::test]
async fn many_runs_at_once_all_end() {
    let app = TestApp::start().await;
    let people: Vec<Api> = (0..4).map(|_| app.person(&app.trust.owner())).collect();
    for api in &people {
        let agent = scene::agent(api, &json!({ "name": "a", "model": "sim:echo" })).await;
        for _ in 0..50 {
            scene::start(api, &agent).await;
        }
    }

    let limit = std::time::Duration::from_secs(50);
    testkit::eventually_within(limit, "200 runs to end", async || {
        let mut admin = app.db.admin().await;
        let ended: i64 =
            sqlx::query_scalar("select count(*) from engine.run where status = 'succeeded'")
                .fetch_one(&mut admin)
                .await
                .unwrap();
        (ended == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_run_with_records_of_a_later_version_is_left_to_engines_that_know_them() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    let agent = scene::scripted(&api, "a", &json!([{ "text": "done" }])).await;
    let (later, known) = (scene::start(&api, &agent).await, scene::start(&api, &agent).await);
    let version = async |version: &str| {
        let set = "update engine.run set record_version = record_version + $2::int where run_id = $1::uuid";
        let set = sqlx::query(set).bind(scene::bare(&later)).bind(version.parse::<i32>().unwrap());
        set.execute(&mut app.db.admin().await).await.unwrap();
    };
    version("1").await;
    let cancelled = scene::start(&api, &agent).await;
    sqlx::query(
        "update engine.run set record_version = record_version + 1 where run_id = $1::uuid",
    )
    .bind(scene::bare(&cancelled))
    .execute(&mut app.db.admin().await)
    .await
    .unwrap();
    api.post(&format!("/v1/runs/{cancelled}/cancel"), &json!({})).await.expect(202);

    let _node = app.node().await;

    // The newer one is behind the others in the queue, and is taken all the same.
    scene::until(&api, &known, "succeeded").await;
    swept(&app).await;
    assert_eq!(scene::get(&api, &later).await["status"], "queued");
    assert_eq!(scene::get(&api, &cancelled).await["status"], "queued");
    version("-1").await;
    scene::until(&api, &later, "succeeded").await;
}

#[tokio::test]
async fn a_run_is_of_the_version_of_its_latest_record() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = asking(&api, "a").await;
    let run = scene::start(&api, &agent).await;
    scene::until(&api, &run, "waiting").await;
    let version = async |set: &str| -> i16 {
        let query =
            format!("update engine.run set {set} where run_id = $1::uuid returning record_version");
        sqlx::query_scalar(sqlx::AssertSqlSafe(query))
            .bind(scene::bare(&run))
            .fetch_one(&mut app.db.admin().await)
            .await
            .unwrap()
    };
    let newest = version("record_version = record_version").await;
    // As an engine before this one has made it.
    version("record_version = 1").await;

    api.post(&format!("/v1/runs/{run}/input"), &json!({ "answer": "yes" })).await.expect(202);

    scene::until(&api, &run, "succeeded").await;
    assert_eq!(version("record_version = record_version").await, newest);
}
