//! Budgets over REST, and runs that meet them.

use serde_json::{Value, json};
use shared_models::Role;
use sqlx::Row as _;
use testkit::{Answer, Api, Stub, eventually};

use crate::harness::TestApp;
use crate::scene;

/// A tool that is another agent.
pub(crate) async fn employ(api: &Api, agent: &str, name: &str, other: &str) {
    let tool = json!({ "name": name, "kind": "agent", "config": { "agent_id": other } });
    let made = api.post("/v1/tools", &tool).await.expect(201);
    let path = format!("/v1/agents/{agent}/tools/{}", made["tool_id"].as_str().unwrap());
    api.put(&path, &json!({})).await.expect(200);
}

/// What a turn costs with [`price`]: a token of input is worth a millionth of a dollar, one of output two.
pub(crate) fn turn(text: &str, input: u64, output: u64) -> Value {
    json!({ "text": text, "usage": { "input_tokens": input, "output_tokens": output } })
}

pub(crate) async fn price(api: &Api) {
    let price = json!({ "model": "sim:*", "input": 1_000_000, "cache_read": 0, "cache_write": 0,
        "output": 2_000_000, "reasoning": 2_000_000 });
    api.post("/v1/prices", &price).await.expect(201);
}

pub(crate) async fn with_budget(api: &Api, name: &str, turns: &Value, budget: Value) -> String {
    let body = json!({ "name": name, "model": "sim:script", "instructions": scene::script(turns),
        "max_tokens": 1_000, "budget": budget });
    scene::agent(api, &body).await
}

pub(crate) async fn set(api: &Api, budget: Value) -> String {
    let made = api.post("/v1/budgets", &budget).await.expect(201);
    made["budget_id"].as_str().unwrap().to_owned()
}

pub(crate) async fn line(api: &Api, budget: &str) -> Value {
    api.get(&format!("/v1/budgets/{budget}")).await.expect(200)["lines"][0].clone()
}

#[tokio::test]
async fn budgets_are_set_changed_and_taken_away() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let member = owner.colleague(Role::Member);
    let wanted = json!({ "level": "tenant", "period": "day", "max_cost_micro_usd": 1_000_000, "max_tokens": 50 });

    let made = api.post("/v1/budgets", &wanted).await.expect(201);

    assert_eq!((&made["level"], &made["period"]), (&json!("tenant"), &json!("day")));
    let cost = json!({ "quantity": "cost_micro_usd", "cap": 1_000_000, "spent": 0, "reserved": 0,
        "remaining": 1_000_000, "overshoot": 0 });
    assert_eq!(made["lines"][0], cost);
    assert!(made["period_start"].is_string() && made["period_end"].is_string(), "{made}");
    assert_eq!(api.post("/v1/budgets", &wanted).await.refusal(), (409, "budget_taken"));
    let path = format!("/v1/budgets/{}", made["budget_id"].as_str().unwrap());
    let patch = json!({ "max_tokens": null, "max_tool_calls": 3 });
    let stale = api.header("if-match", "\"7\"").patch(&path, &patch).await;
    assert_eq!(stale.refusal(), (412, "precondition_failed"));
    let changed = api.header("if-match", "\"1\"").patch(&path, &patch).await.expect(200);
    assert_eq!((&changed["max_tokens"], &changed["max_tool_calls"]), (&Value::Null, &json!(3)));
    assert_eq!(changed["version"], 2);
    let as_member = app.person(&member);
    assert_eq!(as_member.get(&path).await.expect(200)["version"], 2);
    assert_eq!(as_member.patch(&path, &patch).await.status, 403);
    let other = app.person(&owner.colleague(Role::Member));
    let own = json!({ "level": "user", "user_id": member.user, "max_tokens": 5 });
    let own = format!("/v1/budgets/{}", set(&api, own).await);
    assert_eq!(as_member.get(&own).await.status, 200);
    assert_eq!(other.get(&own).await.refusal(), (404, "budget_not_found"));
    let seen = other.get("/v1/budgets").await.expect(200);
    assert_eq!(seen["items"].as_array().unwrap().len(), 1);
    assert_eq!(api.delete(&path).await.status, 204);
    assert_eq!(api.get(&path).await.refusal(), (404, "budget_not_found"));
}

#[tokio::test]
async fn what_is_no_budget_is_refused_field_by_field() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    let table = [
        (json!({ "level": "tenant" }), ""),
        (json!({ "level": "tenant", "max_tokens": 0 }), "/max_tokens"),
        (json!({ "level": "tenant", "max_tokens": -1 }), "/max_tokens"),
        (json!({ "level": "user", "max_tokens": 1 }), "/user_id"),
        (json!({ "level": "agent", "max_tokens": 1 }), "/agent_id"),
        (json!({ "level": "tenant", "user_id": owner.user, "max_tokens": 1 }), "/user_id"),
        (json!({ "level": "platform", "max_tokens": 1 }), "/level"),
        (json!({ "level": "run", "max_tokens": 1 }), "/level"),
        (json!({ "level": "tenant", "period": "week", "max_tokens": 1 }), "/period"),
    ];
    for (body, pointer) in table {
        let reply = api.post("/v1/budgets", &body).await;
        assert_eq!(reply.refusal(), (422, "validation_failed"), "{body}");
        assert_eq!(reply.body["errors"][0]["pointer"], pointer, "{body}");
    }
    let stranger =
        json!({ "level": "agent", "agent_id": shared_models::AgentId::mint(), "max_tokens": 1 });
    assert_eq!(api.post("/v1/budgets", &stranger).await.refusal(), (404, "agent_not_found"));
    let agent = scene::scripted(&api, "a", &json!([{ "text": "x" }])).await;
    let body = json!({ "agent_id": agent, "input": "go", "budget": { "max_tokens": 0 } });
    assert_eq!(
        api.post("/v1/runs", &body).await.body["errors"][0]["pointer"],
        "/budget/max_tokens"
    );
}

#[tokio::test]
async fn the_platforms_budgets_are_its_administrators() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let (api, platform) = (app.person(&owner), app.person(&owner.platform_admin()));
    let wanted = json!({ "period": "total", "limits": { "max_tool_calls": 1 } });
    assert_eq!(api.post("/v1/platform/budgets", &wanted).await.status, 403);

    let made = platform.post("/v1/platform/budgets", &wanted).await.expect(201);

    let path = format!("/v1/platform/budgets/{}", made["budget_id"].as_str().unwrap());
    assert_eq!(api.get(&path.replace("/platform", "")).await.status, 404);
    let server = Stub::start(|_| Answer::Json(200, json!("fine"))).await;
    let agent = scene::scripted(&api, "a", &scene::calls(&["look", "look"])).await;
    scene::tool(&api, &agent, "look", &server.url(), "read").await;
    let run = scene::start(&api, &agent).await;
    let waits = scene::until(&api, &run, "waiting").await;
    assert_eq!(
        (&waits["wait_reason"], &waits["short_of"][0]["level"]),
        (&json!("budget"), &json!("platform"))
    );
    assert_eq!(server.requests().len(), 1);
    platform.delete(&path).await;
    scene::until(&api, &run, "succeeded").await;
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_run_that_meets_its_budget_waits_and_goes_on_when_it_is_raised() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    price(&api).await;
    let mut first = turn("half of", 150, 550);
    first["finish"] = json!("length");
    let turns = json!([first, turn("the rest", 10, 10)]);
    let cap = json!({ "max_cost_micro_usd": 1_350, "max_tool_calls": 9 });
    let agent = with_budget(&api, "a", &turns, cap).await;
    let body = json!({ "agent_id": agent, "input": "go", "budget": { "max_tool_calls": 3 } });
    let run = api.post("/v1/runs", &body).await.expect(201);
    let run = run["run_id"].as_str().unwrap();

    let waits = scene::until(&api, run, "waiting").await;

    assert_eq!(waits["wait_reason"], "budget", "{waits}");
    assert_eq!(waits["output"], "half of", "what was said so far is kept");
    assert_eq!(waits["short_of"][0]["quantity"], "cost_micro_usd");
    assert!(waits["short_of"][0]["short"].as_i64().unwrap() > 0, "{waits}");
    let lines = waits["budget"]["lines"].as_array().unwrap();
    assert_eq!((&lines[0]["spent"], &lines[0]["reserved"]), (&json!(1_250), &json!(0)));
    assert_eq!(waits["budget"]["max_tool_calls"], 3, "the tighter limit holds");
    let owned = sqlx::query("select worker_id is null from engine.run where run_id = $1::uuid")
        .bind(scene::bare(run))
        .fetch_one(&mut app.db.admin().await)
        .await
        .unwrap();
    assert!(owned.get::<bool, _>(0), "it holds no worker");

    let path = format!("/v1/runs/{run}/budget");
    let lower = api.post(&path, &json!({ "max_cost_micro_usd": 1_350 })).await;
    assert_eq!(lower.body["errors"][0]["pointer"], "/max_cost_micro_usd");
    let unknown = api.post(&path, &json!({ "max_tokens": 5 })).await;
    assert_eq!(unknown.body["errors"][0]["pointer"], "/max_tokens");
    let patched = format!("/v1/budgets/{}", waits["budget"]["budget_id"].as_str().unwrap());
    let added = api.patch(&patched, &json!({ "max_tokens": 5 })).await;
    assert_eq!(added.refusal(), (422, "validation_failed"), "the run would not heed it");
    assert_eq!(added.body["errors"][0]["pointer"], "/max_tokens");
    api.post(&path, &json!({ "max_cost_micro_usd": 5_000 })).await.expect(200);
    let ended = scene::until(&api, run, "succeeded").await;
    assert_eq!((&ended["output"], &ended["cost_micro_usd"]), (&json!("the rest"), &json!(1_280)));
    assert_eq!(api.post(&path, &json!({ "max_tokens": 5 })).await.refusal(), (409, "run_ended"));
    let free = scene::scripted(&api, "free", &json!([{ "text": "x", "delay_ms": 60_000 }])).await;
    let free = scene::start(&api, &free).await;
    let none = api.post(&format!("/v1/runs/{free}/budget"), &json!({ "max_tokens": 5 })).await;
    assert_eq!(none.refusal(), (409, "run_without_budget"));
}

#[tokio::test]
async fn a_model_without_a_price_is_refused_where_money_is_limited() {
    let server = Stub::start(|_| Answer::Json(200, json!({}))).await;
    let url = format!("{}/v1", server.url());
    let app = TestApp::start_with(&[("OPENAI_BASE_URL", &url), ("OPENAI_API_KEY", "k")]).await;
    let api = app.person(&app.trust.owner());
    let body = json!({ "name": "a", "model": "openai:nobody-knows", "budget": { "max_cost_micro_usd": 1_000_000 } });
    let agent = scene::agent(&api, &body).await;

    let run = scene::start(&api, &agent).await;

    let failed = scene::until(&api, &run, "failed").await;
    let why = failed["error"]["message"].as_str().unwrap();
    assert!(why.contains("`openai:nobody-knows` has no price"), "{why}");
    assert!(server.requests().is_empty(), "nothing was asked");
}

#[tokio::test]
async fn the_model_is_asked_for_no_more_than_is_affordable() {
    let reply = json!({ "choices": [{ "index": 0, "message": { "role": "assistant", "content": "ok" }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 10, "completion_tokens": 5 } });
    let server = Stub::start(move |_| Answer::Json(200, reply.clone())).await;
    let url = format!("{}/v1", server.url());
    let app = TestApp::start_with(&[("OPENAI_BASE_URL", &url), ("OPENAI_API_KEY", "k")]).await;
    let api = app.person(&app.trust.owner());
    let body =
        json!({ "name": "a", "model": "openai:gpt-4o", "budget": { "max_cost_micro_usd": 2_000 } });
    let agent = scene::agent(&api, &body).await;

    let run = scene::start(&api, &agent).await;

    let ended = scene::until(&api, &run, "succeeded").await;
    let asked = server.requests()[0].json();
    let most = asked["max_completion_tokens"].as_i64().or(asked["max_tokens"].as_i64()).unwrap();
    assert!((150..200).contains(&most), "2000 less the input, at 10 a token: {most}");
    // 10 at 2.5 and 5 at 10 millionths of a dollar.
    assert_eq!(
        (&ended["cost_micro_usd"], &ended["budget"]["lines"][0]["spent"]),
        (&json!(75), &json!(75))
    );
}

#[tokio::test]
async fn children_draw_on_the_budget_of_the_run_above_them() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let below = scene::scripted(&api, "below", &json!([turn("done", 60, 0)])).await;
    let call = |n: usize| json!({ "name": "ask", "arguments": { "task": format!("{n}") } });
    let calls: Vec<Value> = (0..3).map(call).collect();
    let turns = json!([{ "tool_calls": calls, "usage": { "input_tokens": 1, "output_tokens": 0 } }, turn("all", 1, 0)]);
    let above = with_budget(&api, "above", &turns, json!({ "max_tool_calls": 2 })).await;
    employ(&api, &above, "ask", &below).await;

    let run = scene::start(&api, &above).await;

    let waits = eventually("the third call to wait", async || {
        let run = scene::get(&api, &run).await;
        (run["wait_reason"] == "budget").then_some(run)
    })
    .await;
    assert_eq!(waits["short_of"][0]["quantity"], "tool_calls");
    api.post(&format!("/v1/runs/{run}/budget"), &json!({ "max_tool_calls": 3 })).await.expect(200);
    scene::until(&api, &run, "succeeded").await;

    let tokens = with_budget(&api, "tokens", &turns, json!({ "max_tokens": 100_000 })).await;
    employ(&api, &tokens, "ask_them", &below).await;
    let calls: Vec<Value> = (0..3)
        .map(|n| json!({ "name": "ask_them", "arguments": { "task": format!("{n}") } }))
        .collect();
    let turns = json!([{ "tool_calls": calls, "usage": { "input_tokens": 1, "output_tokens": 0 } }, turn("all", 1, 0)]);
    let patch = json!({ "instructions": scene::script(&turns) });
    api.patch(&format!("/v1/agents/{tokens}"), &patch).await.expect(200);
    let run = scene::start(&api, &tokens).await;
    let ended = scene::until(&api, &run, "succeeded").await;
    assert_eq!(ended["budget"]["lines"][0]["spent"], 3 * 60 + 2, "its own and its children's");
}

#[tokio::test]
async fn only_the_agents_owner_raises_a_run_beyond_what_the_agent_gives() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let (api, mate) = (app.person(&owner), app.person(&owner.teammate(Role::Member)));
    let turns = json!([{ "text": "x", "delay_ms": 600_000 }]);
    let body = json!({ "name": "a", "model": "sim:script", "instructions": scene::script(&turns),
        "scope": "team", "budget": { "max_tool_calls": 5 } });
    let agent = scene::agent(&api, &body).await;
    let body = json!({ "agent_id": agent, "input": "go", "budget": { "max_tool_calls": 2 } });
    let run = mate.post("/v1/runs", &body).await.expect(201);
    let path = format!("/v1/runs/{}/budget", run["run_id"].as_str().unwrap());

    let within = mate.post(&path, &json!({ "max_tool_calls": 5 })).await.expect(200);
    let beyond = mate.post(&path, &json!({ "max_tool_calls": 6 })).await;
    let by_owner = api.post(&path, &json!({ "max_tool_calls": 6 })).await.expect(200);

    assert_eq!(within["max_tool_calls"], 5);
    assert_eq!(beyond.refusal(), (403, "not_owner"));
    assert_eq!(by_owner["max_tool_calls"], 6);
}

#[tokio::test]
async fn a_long_answer_is_set_aside_in_parts_and_goes_on() {
    let server = Stub::start(|request| {
        let asked = request.json();
        let more =
            asked["messages"].as_array().unwrap().iter().any(|said| said["role"] == "assistant");
        let (text, finish) = if more { ("the rest", "stop") } else { ("half of", "length") };
        Answer::Json(
            200,
            json!({ "choices": [{ "index": 0, "finish_reason": finish,
            "message": { "role": "assistant", "content": text } }],
            "usage": { "prompt_tokens": 10, "completion_tokens": 5 } }),
        )
    })
    .await;
    let url = format!("{}/v1", server.url());
    let app = TestApp::start_with(&[("OPENAI_BASE_URL", &url), ("OPENAI_API_KEY", "k")]).await;
    let api = app.person(&app.trust.owner());
    let body =
        json!({ "name": "a", "model": "openai:gpt-4o", "budget": { "max_tokens": 10_000_000 } });
    let agent = scene::agent(&api, &body).await;

    let run = scene::start(&api, &agent).await;

    let ended = scene::until(&api, &run, "succeeded").await;
    assert_eq!((&ended["output"], server.requests().len()), (&json!("the rest"), 2));
    let asked = server.requests()[0].json();
    let most = asked["max_completion_tokens"].as_i64().or(asked["max_tokens"].as_i64());
    assert_eq!(most, Some(8192), "less than the 16384 it could write");
}

#[tokio::test]
async fn what_a_model_said_before_it_broke_off_is_charged() {
    let word = json!({ "choices": [{ "index": 0, "delta": { "content": "word ".repeat(120) } }] });
    let server = Stub::start(move |_| {
        let kind = ("content-type".to_owned(), "text/event-stream".to_owned());
        Answer::Raw(200, vec![kind], format!("data: {word}\n\n").into_bytes())
    })
    .await;
    let url = format!("{}/v1", server.url());
    let app = TestApp::start_with(&[("OPENAI_BASE_URL", &url), ("OPENAI_API_KEY", "k")]).await;
    let api = app.person(&app.trust.owner());
    let body = json!({ "name": "a", "model": "openai:gpt-4o", "max_tokens": 1_000, "budget": { "max_tokens": 10_000_000 } });
    let agent = scene::agent(&api, &body).await;

    let run = scene::start(&api, &agent).await;

    let failed = scene::until(&api, &run, "failed").await;
    let spent = failed["budget"]["lines"][0]["spent"].as_i64().unwrap();
    let asked = i64::try_from(server.requests().len()).unwrap();
    assert!(asked > 1 && spent > asked * 200, "{asked} times 600 letters: {spent}");
}

#[tokio::test]
async fn a_call_takes_no_more_time_than_is_affordable() {
    let server = Stub::start(|_| Answer::Never).await;
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let turns = scene::calls(&["look"]);
    let agent = with_budget(&api, "a", &turns, json!({ "max_active_seconds": 3 })).await;
    scene::tool_within(&api, &agent, "look", &server.url(), ("read", 30_000)).await;

    let run = scene::start(&api, &agent).await;

    let waits = eventually("the call to be given up", async || {
        let run = scene::get(&api, &run).await;
        (run["wait_reason"] == "budget" || run["status"] == "succeeded").then_some(run)
    })
    .await;
    assert!(!server.requests().is_empty(), "it waited before its first call: {waits}");
}
