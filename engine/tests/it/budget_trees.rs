//! Budgets under many at once, and when the database does not answer.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Person, eventually, eventually_within};

use crate::budgets::{employ, line, price, set, turn, with_budget};
use crate::harness::TestApp;
use crate::scene;

const DOLLAR: i64 = 1_000_000;
/// Many runs on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// A lease that outlasts a busy machine: these tests are not about one that ends.
pub(crate) const LEASE: (&str, &str) = ("SWITCHYARD_WORKER_LEASE_MS", "60000");
const NO_WORKERS: (&str, &str) = ("SWITCHYARD_RUN_SLOTS", "0");

/// The run, once it has succeeded.
async fn succeeded(app: &TestApp, owner: &Person, run: &str) -> Value {
    eventually_within(LIMIT, "the run to succeed", async || {
        // A token lasts a minute.
        let run = scene::get(&app.person(owner), run).await;
        (run["status"] == "succeeded").then_some(run)
    })
    .await
}

/// What is spent, set aside and beyond what was, of the run's own budget: of one moment, and added up.
async fn counted(app: &TestApp, run: &str) -> (i64, i64, i64) {
    sqlx::query_as(
        "select l.spent, l.held, l.overshoot from engine.budget b join engine.budget_line l using (budget_id)
         where b.level = 'run' and b.subject_id = $1::uuid",
    )
    .bind(scene::bare(run))
    .fetch_optional(&mut app.db.admin().await)
    .await
    .unwrap()
    .unwrap_or_default()
}

#[tokio::test]
async fn sixty_four_children_at_once_keep_to_a_dollar_and_go_on_when_it_is_raised() {
    let app = TestApp::start_with(&[LEASE, NO_WORKERS]).await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    price(&api).await;
    // 19,900 of 20,000 and a little for the input: there is room for fifty.
    let body = json!({ "name": "below", "model": "sim:script", "max_tokens": 10_000,
        "instructions": scene::script(&json!([turn("done", 100, 9_900)])) });
    let below = scene::agent(&api, &body).await;
    let call = |n: usize| json!({ "name": "ask", "arguments": { "task": format!("{n}") } });
    let calls: Vec<Value> = (0..64).map(call).collect();
    let turns = json!([{ "tool_calls": calls, "usage": { "input_tokens": 1, "output_tokens": 0 } }, turn("all", 1, 0)]);
    let above = with_budget(&api, "above", &turns, json!({ "max_cost_micro_usd": DOLLAR })).await;
    employ(&api, &above, "ask", &below).await;
    let (_one, _other) = (app.node().await, app.node().await);

    let run = scene::start(&api, &above).await;

    let tree = format!("/v1/runs/{run}/tree");
    // A token lasts a minute.
    let now = || app.person(&owner);
    let list = async || now().get(&tree).await.expect(200)["children"].as_array().unwrap().clone();
    eventually_within(LIMIT, "all children to have ended or to wait for money", async || {
        let (spent, held, overshoot) = counted(&app, &run).await;
        assert!(spent + held <= DOLLAR + overshoot, "{spent} and {held} with {overshoot} over");
        let children = list().await;
        let ended = children.iter().filter(|child| child["status"] == "succeeded").count();
        let waiting = children.iter().filter(|child| child["wait_reason"] == "budget").count();
        let quiet = children.len() == 64 && ended + waiting == 64 && held == 0;
        quiet.then(|| assert!(ended > 0 && waiting > 0, "{ended} have ended, and {waiting} wait"))
    })
    .await;
    let path = format!("/v1/runs/{run}/budget");
    now().post(&path, &json!({ "max_cost_micro_usd": 10 * DOLLAR })).await.expect(200);

    succeeded(&app, &owner, &run).await;
    assert!(list().await.iter().all(|child| child["status"] == "succeeded"));
    let spent = 64 * (100 + 2 * 9_900) + 2;
    eventually_within(LIMIT, "everything to be counted once", async || {
        let (counted, held, overshoot) = counted(&app, &run).await;
        ((counted, held) == (spent, 0)).then(|| assert!(overshoot < DOLLAR, "{overshoot} over"))
    })
    .await;
}

/// Does without a right for as long as it takes a run to be taken up once more; gives what the run's records are by then.
async fn without(
    app: &TestApp,
    (right, role): (&str, &str),
    begin: impl AsyncFnOnce() -> String,
) -> String {
    let admin = async |sql: String| {
        let done = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut app.db.admin().await).await;
        done.unwrap();
    };
    admin(format!("revoke {right} from {role}")).await;
    let run = begin().await;
    eventually_within(LIMIT, "the run to be taken up once more", async || {
        let kinds = scene::kinds(&app.db, &run).await;
        kinds.iter().any(|kind| kind == "resumed").then_some(())
    })
    .await;
    admin(format!("grant {right} to {role}")).await;
    run
}

/// Runs that cannot be driven for a while are not given up as hopeless meanwhile.
const PATIENT: (&str, &str) = ("SWITCHYARD_RUN_MAX_CLAIMS", "100000");

#[tokio::test]
async fn a_budget_that_cannot_be_asked_for_a_while_fails_no_run() {
    let app = TestApp::start_with(&[PATIENT, LEASE]).await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    price(&api).await;
    let agent = with_budget(&api, "a", &json!([turn("done", 10, 10)]), json!({})).await;
    let budget =
        set(&api, json!({ "level": "agent", "agent_id": agent, "max_cost_micro_usd": 100_000 }))
            .await;

    let right = ("insert on engine.budget_hold", "engine_system");
    let run = without(&app, right, async || scene::start(&api, &agent).await).await;

    succeeded(&app, &owner, &run).await;
    eventually("the call to be counted", async || {
        (line(&app.person(&owner), &budget).await["spent"] == 30).then_some(())
    })
    .await;
}

#[tokio::test]
async fn while_no_price_can_be_read_no_model_is_asked_and_no_run_fails() {
    let reply = json!({ "choices": [{ "index": 0, "message": { "role": "assistant", "content": "ok" }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 10, "completion_tokens": 5 } });
    let server = testkit::Stub::start(move |_| testkit::Answer::Json(200, reply.clone())).await;
    let url = format!("{}/v1", server.url());
    let vars = [PATIENT, LEASE, ("OPENAI_BASE_URL", &url), ("OPENAI_API_KEY", "k")];
    let app = TestApp::start_with(&vars).await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let body = json!({ "name": "a", "model": "openai:gpt-4o", "budget": { "max_cost_micro_usd": 1_000_000 } });
    let agent = scene::agent(&api, &body).await;

    let right = ("select on engine.price", "engine_app");
    let run = without(&app, right, async || {
        let run = scene::start(&api, &agent).await;
        assert!(server.requests().is_empty(), "nobody knows what it costs");
        run
    })
    .await;

    let ended = succeeded(&app, &owner, &run).await;
    assert_eq!(ended["cost_micro_usd"], 75);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_model_that_cannot_be_looked_up_for_a_while_has_not_failed() {
    let app = TestApp::start_with(&[PATIENT, LEASE, NO_WORKERS]).await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let agent = scene::scripted(&api, "a", &json!([{ "text": "done" }])).await;
    let run = scene::start(&api, &agent).await;
    // As an engine of before has begun it: what its models stand for is looked up when they are asked.
    sqlx::query(
        "update engine.run_snapshot set snapshot = snapshot - 'models' where run_id = $1::uuid",
    )
    .bind(scene::bare(&run))
    .execute(&mut app.db.admin().await)
    .await
    .unwrap();

    let mut node = None;
    let right = ("select on engine.model_setting", "engine_app");
    let run = without(&app, right, async || {
        node = Some(app.node().await);
        run
    })
    .await;

    succeeded(&app, &owner, &run).await;
    let kinds = scene::kinds(&app.db, &run).await;
    let failed = |kind: &&String| *kind == "model_retried" || *kind == "model_failed";
    assert_eq!(kinds.iter().find(failed), None, "{kinds:?}");
}
