//! What budgets promise: nothing is spent beyond them, nothing set aside is lost, everything is told once.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::Row as _;
use testkit::{Answer, Stub, eventually, eventually_within};

use crate::budgets::{line, price, set, turn, with_budget};
use crate::harness::TestApp;
use crate::scene;

#[tokio::test]
async fn a_new_period_lets_runs_go_on() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let budget =
        set(&api, json!({ "level": "tenant", "period": "day", "max_tool_calls": 1 })).await;
    let server = Stub::start(|_| Answer::Json(200, json!("fine"))).await;
    let agent = scene::scripted(&api, "a", &scene::calls(&["look", "look"])).await;
    scene::tool(&api, &agent, "look", &server.url(), "read").await;
    let run = scene::start(&api, &agent).await;
    scene::until(&api, &run, "waiting").await;
    assert_eq!(line(&api, &budget).await["spent"], 1);

    // As if what was counted had been counted yesterday.
    sqlx::query("update engine.budget set period_start = period_start - interval '1 day'")
        .execute(&mut app.db.admin().await)
        .await
        .unwrap();

    scene::until(&api, &run, "succeeded").await;
    assert_eq!(line(&api, &budget).await["spent"], 1, "of the new day");
}

#[tokio::test]
async fn each_part_of_a_budget_is_told_of_once() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let look = |n: usize| json!({ "tool_calls": [{ "name": "look", "arguments": { "n": n } }] });
    let turns: Vec<Value> = (0..11).map(look).chain([json!({ "text": "done" })]).collect();
    let agent = scene::scripted(&api, "a", &json!(turns)).await;
    let budget =
        set(&api, json!({ "level": "agent", "agent_id": agent, "max_tool_calls": 10 })).await;
    let server = Stub::start(|_| Answer::Json(200, json!("fine"))).await;
    scene::tool(&api, &agent, "look", &server.url(), "read").await;
    let patch = json!({ "max_steps": 20 });
    api.patch(&format!("/v1/agents/{agent}"), &patch).await.expect(200);
    let run = scene::start(&api, &agent).await;
    scene::until(&api, &run, "waiting").await;

    api.patch(&format!("/v1/budgets/{budget}"), &json!({ "max_tool_calls": 11 })).await.expect(200);
    scene::until(&api, &run, "succeeded").await;

    let told = eventually("the budget to be told of", async || {
        let rows = sqlx::query(
            "select envelope ->> 'type', envelope -> 'data' ->> 'percent' from engine.outbox
             where subject like '%.budget.%' order by created_at, message_id",
        )
        .fetch_all(&mut app.db.admin().await)
        .await
        .unwrap();
        let told: Vec<(String, Option<String>)> =
            rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        // At 10 of 10, and again at 11 of 11.
        (told.len() >= 4).then_some(told)
    })
    .await;
    let warned = |percent: &str| ("budget.warned".to_owned(), Some(percent.to_owned()));
    let end = ("budget.exhausted".to_owned(), None);
    assert_eq!(told, [warned("50"), warned("80"), end.clone(), end]);
}

#[tokio::test]
async fn what_a_killed_process_had_set_aside_comes_back() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    price(&api).await;
    let mut slow = turn("done", 10, 10);
    slow["delay_ms"] = json!(60_000);
    let agent = with_budget(&api, "slow", &json!([slow]), json!({})).await;
    let budget =
        set(&api, json!({ "level": "agent", "agent_id": agent, "max_cost_micro_usd": 1_000 }))
            .await;
    let first = app.node().await;
    let run = scene::start(&api, &agent).await;
    let reserved = eventually("something to be set aside", async || {
        let line = line(&api, &budget).await;
        line["reserved"].as_i64().filter(|reserved| *reserved > 0)
    })
    .await;

    first.kill();
    let _second = app.node().await;

    eventually("the call to be made again", async || {
        let rows = sqlx::query("select epoch from engine.budget_hold")
            .fetch_all(&mut app.db.admin().await)
            .await
            .unwrap();
        let epochs: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        (epochs == [2]).then_some(())
    })
    .await;
    assert_eq!(line(&api, &budget).await["reserved"], reserved, "once, not twice");
    api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await;
    scene::until(&api, &run, "cancelled").await;
    eventually("nothing to be set aside", async || {
        let line = line(&api, &budget).await;
        (line["reserved"] == 0 && line["spent"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn two_engines_share_a_budget_and_never_spend_more() {
    let app = TestApp::without_workers().await;
    let api = app.person(&app.trust.owner());
    price(&api).await;
    let body = json!({ "name": "a", "model": "sim:script", "max_tokens": 50,
        "instructions": scene::script(&json!([turn("done", 40, 20)])) });
    let agent = scene::agent(&api, &body).await;
    let cap = 2_000;
    let budget =
        set(&api, json!({ "level": "tenant", "period": "total", "max_cost_micro_usd": cap })).await;
    let (_one, _other) = (app.node().await, app.node().await);
    let mut runs = Vec::new();
    for _ in 0..40 {
        runs.push(scene::start(&api, &agent).await);
    }

    let all = "all to have ended or to wait for more than there is";
    let waiting = eventually_within(Duration::from_secs(30), all, async || {
        let mut waiting = 0;
        for run in &runs {
            let run = scene::get(&api, run).await;
            match run["status"].as_str().unwrap() {
                "succeeded" => {}
                "waiting" if run["short_of"][0]["short"].as_i64().unwrap_or(0) > 0 => waiting += 1,
                _ => return None,
            }
        }
        let line = line(&api, &budget).await;
        (line["reserved"] == 0).then_some(waiting)
    })
    .await;

    let left = line(&api, &budget).await;
    assert_eq!(left["spent"], (40 - waiting) * 80, "{left}");
    assert!(left["spent"].as_i64().unwrap() <= cap && left["overshoot"] == 0, "{left}");
    assert!(waiting > 0);
    api.patch(&format!("/v1/budgets/{budget}"), &json!({ "max_cost_micro_usd": 1_000_000 }))
        .await
        .expect(200);
    for run in &runs {
        scene::until(&api, run, "succeeded").await;
    }
    eventually("all to be counted", async || {
        (line(&api, &budget).await["spent"] == 40 * 80).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_run_that_nothing_limits_leaves_no_trace_in_budgets() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = scene::scripted(&api, "a", &json!([{ "text": "x" }])).await;
    let run = scene::start(&api, &agent).await;
    let ended = scene::until(&api, &run, "succeeded").await;
    assert_eq!(ended.get("budget"), None);
    for table in ["budget", "budget_hold", "budget_spending", "budget_wait"] {
        let count = format!("select count(*) from engine.{table}");
        let row =
            sqlx::query(sqlx::AssertSqlSafe(count)).fetch_one(&mut app.db.admin().await).await;
        assert_eq!(row.unwrap().get::<i64, _>(0), 0, "{table}");
    }
}

#[tokio::test]
async fn what_a_model_says_before_its_time_is_over_is_kept_and_it_is_asked_to_go_on() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let endless = json!({ "text": "half of", "pace_ms": 600_000 });
    let turns = json!([endless, { "text": "the rest" }]);
    let agent = with_budget(&api, "a", &turns, json!({ "max_active_seconds": 8 })).await;

    let run = scene::start(&api, &agent).await;

    let waits = scene::until(&api, &run, "waiting").await;
    assert_eq!((&waits["wait_reason"], &waits["output"]), (&json!("budget"), &json!("half ")));
    assert_eq!(waits["short_of"][0]["quantity"], "active_seconds");
    assert!(waits["budget"]["lines"][0]["spent"].as_i64().unwrap() >= 8, "{waits}");
    assert_eq!(waits["steps"], 1, "it is a reply");
    let path = format!("/v1/runs/{run}/budget");
    api.post(&path, &json!({ "max_active_seconds": 60 })).await.expect(200);
    let ended = scene::until(&api, &run, "succeeded").await;
    assert_eq!((&ended["output"], &ended["steps"]), (&json!("the rest"), &json!(2)));
    let said = api.get(&format!("/v1/runs/{run}/messages")).await.expect(200);
    let said: Vec<&Value> =
        said["items"].as_array().unwrap().iter().map(|message| &message["content"]).collect();
    assert_eq!(said[..2], [&json!("go"), &json!("half ")], "{said:?}");
}

#[tokio::test]
async fn a_repeated_request_for_a_budget_of_the_platform_makes_one() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let platform = app.person(&owner.platform_admin());
    let wanted = json!({ "period": "day", "limits": { "max_tokens": 5 } });
    let keyed = platform.header("idempotency-key", "once");

    let first = keyed.post("/v1/platform/budgets", &wanted).await.expect(201);
    let again = keyed.post("/v1/platform/budgets", &wanted).await;

    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.expect(201), first);
    let other = json!({ "period": "day", "limits": { "max_tokens": 6 } });
    let reused = keyed.post("/v1/platform/budgets", &other).await;
    assert_eq!(reused.refusal(), (422, "idempotency_key_reused"));
    let unkeyed = platform.post("/v1/platform/budgets", &wanted).await;
    assert_eq!(unkeyed.refusal(), (409, "budget_taken"));
    let all = platform.get("/v1/platform/budgets").await.expect(200);
    assert_eq!(all["items"].as_array().unwrap().len(), 1);
}
