//! Who gets a worker, and how many.

use serde_json::{Value, json};
use testkit::Api;

use crate::harness::TestApp;
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

    let limit = std::time::Duration::from_secs(30);
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
