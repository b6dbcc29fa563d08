//! What runs cost and what was used.

use serde_json::{Value, json};
use shared_models::Role;
use testkit::{Answer, Api, Stub, Stubbed};

use crate::harness::TestApp;
use crate::scene;

/// A server with one tool call before the end; each reply takes 1000 tokens in, 400 of them cached, and 100 out.
fn completions(request: &Stubbed) -> Answer {
    let messages = request.json()["messages"].as_array().cloned().unwrap_or_default();
    let told = messages.iter().any(|message| message["role"] == "tool");
    let message = if told {
        json!({ "role": "assistant", "content": "done" })
    } else {
        let call = json!({ "id": "c1", "type": "function",
            "function": { "name": "nothing", "arguments": "{}" } });
        json!({ "role": "assistant", "content": null, "tool_calls": [call] })
    };
    let usage = json!({ "prompt_tokens": 1_000, "completion_tokens": 100,
        "prompt_tokens_details": { "cached_tokens": 400 } });
    Answer::Json(200, json!({ "choices": [{ "index": 0, "message": message }], "usage": usage }))
}

async fn with_a_server() -> (TestApp, Stub, Api) {
    let server = Stub::start(completions).await;
    let url = format!("{}/v1", server.url());
    let app = TestApp::start_with(&[("OPENAI_BASE_URL", &url), ("OPENAI_API_KEY", "k")]).await;
    let api = app.person(&app.trust.owner());
    (app, server, api)
}

async fn run(api: &Api, agent: &str) -> Value {
    let ended = api
        .post("/v1/runs", &json!({ "agent": agent, "input": "hi", "wait": 30 }))
        .await
        .expect(200);
    assert_eq!(ended["status"], "succeeded", "{ended}");
    ended
}

#[tokio::test]
async fn each_reply_and_the_run_have_a_cost_and_the_other_services_hear_it() {
    let (app, _server, api) = with_a_server().await;
    scene::agent(&api, &json!({ "name": "a", "model": "gpt-4o" })).await;

    let ended = run(&api, "a").await;

    // 600 at 2.50, 400 cached at 1.25, 100 out at 10.00 dollars a million, twice.
    assert_eq!(ended["cost_micro_usd"], 2 * (1_500 + 500 + 1_000));
    let events = scene::records(&scene::stream(&api, ended["run_id"].as_str().unwrap(), 0).await);
    let cost = |kind: &str| -> Vec<i64> {
        let of_kind = events.iter().filter(|(_, event, _)| event == kind);
        of_kind.map(|(.., event)| event["data"]["cost"].as_i64().unwrap()).collect()
    };
    assert_eq!(cost("model_replied"), [3_000, 3_000]);
    assert_eq!(cost("finished"), [6_000]);
    let heard: Vec<Value> = sqlx::query_scalar(
        "select envelope -> 'data' -> 'cost' from engine.outbox where envelope ->> 'type' = 'run.finished'",
    )
    .fetch_all(&mut app.db.admin().await)
    .await
    .unwrap();
    assert_eq!(heard, [json!(6_000)]);
}

#[tokio::test]
async fn a_tenants_own_price_holds_from_its_date_on_and_an_unknown_price_is_no_price_of_nothing() {
    let (_app, _server, api) = with_a_server().await;
    scene::agent(&api, &json!({ "name": "a", "model": "openai:gpt-4o" })).await;
    scene::agent(&api, &json!({ "name": "b", "model": "openai:home-made" })).await;
    assert_eq!(run(&api, "b").await["cost_micro_usd"], Value::Null);

    let price = |model: &str, from: Value, input: i64| {
        json!({ "model": model, "effective_from": from, "input": input, "cache_read": 0, "cache_write": 0,
            "output": 0, "reasoning": 0 })
    };
    let ours = price("openai:gpt-4o", json!("2026-01-01T00:00:00Z"), 1_000_000);
    let made = api.post("/v1/prices", &ours).await.expect(201);
    api.post("/v1/prices", &price("openai:gpt-4o", json!("2999-01-01T00:00:00Z"), 9))
        .await
        .expect(201);
    api.post("/v1/prices", &price("openai:home-made", Value::Null, 2_000_000)).await.expect(201);

    assert_eq!(run(&api, "a").await["cost_micro_usd"], 2 * 600);
    assert_eq!(run(&api, "b").await["cost_micro_usd"], 2 * 1_200);
    assert_eq!(api.post("/v1/prices", &ours).await.refusal(), (409, "price_exists"));
    let listed = api.get("/v1/prices?model=openai:gpt-4o").await.expect(200);
    let inputs: Vec<i64> =
        listed["items"].as_array().unwrap().iter().map(|p| p["input"].as_i64().unwrap()).collect();
    assert_eq!(inputs, [9, 1_000_000, 2_500_000], "ours, newest first, then the platform's");
    let path = format!("/v1/prices/{}", made["price_id"].as_str().unwrap());
    assert_eq!(api.delete(&path).await.status, 204);
    assert_eq!(run(&api, "a").await["cost_micro_usd"], 6_000);
    let wrong = price("gpt-4o", Value::Null, -1);
    assert_eq!(
        api.post("/v1/prices", &wrong).await.expect(422)["errors"].as_array().unwrap().len(),
        2
    );
}

#[tokio::test]
async fn what_was_used_is_summed_by_day_agent_and_model() {
    let (app, _server, api) = with_a_server().await;
    scene::agent(&api, &json!({ "name": "a", "model": "openai:gpt-4o" })).await;
    scene::agent(&api, &json!({ "name": "b,b", "model": "openai:home-made" })).await;
    run(&api, "a").await;
    run(&api, "a").await;
    run(&api, "b,b").await;

    let all = api.get("/v1/usage").await.expect(200);
    let by_model = api.get("/v1/usage?group_by=model").await.expect(200);
    let table = api.get("/v1/usage?group_by=agent&format=csv").await;
    let long_ago = api.get("/v1/usage?until=2020-01-01").await.expect(200);

    let total = json!({ "calls": 6, "unpriced_calls": 2, "cost_micro_usd": 12_000, "usage": {
        "input_tokens": 3_600, "cache_read_tokens": 2_400, "cache_write_tokens": 0, "output_tokens": 600,
        "reasoning_tokens": 0 } });
    assert_eq!(all["total"], total);
    let items = all["items"].as_array().unwrap();
    let line =
        |line: &Value| (line["agent_name"].clone(), line["model"].clone(), line["calls"].clone());
    assert_eq!(
        items.iter().map(line).collect::<Vec<_>>(),
        [
            (json!("a"), json!("openai:gpt-4o"), json!(4)),
            (json!("b,b"), json!("openai:home-made"), json!(2))
        ]
    );
    assert_eq!(by_model["items"].as_array().unwrap().len(), 2);
    assert_eq!(by_model["items"][0]["agent_id"], Value::Null);
    assert_eq!(long_ago["total"]["calls"], 0);
    assert_eq!(table.header("content-type"), Some("text/csv; charset=utf-8; header=present"));
    let lines: Vec<&str> = table.text.split("\r\n").collect();
    assert!(lines[0].starts_with("day,user_id,agent_id,agent_name,model,calls"), "{}", table.text);
    let (a, b) = (items[0]["agent_id"].as_str().unwrap(), items[1]["agent_id"].as_str().unwrap());
    assert_eq!(lines[1], format!(",,{a},a,,4,0,2400,1600,0,400,0,12000"));
    assert_eq!(lines[2], format!(",,{b},\"b,b\",,2,2,1200,800,0,200,0,0"));
    assert_eq!(api.get("/v1/usage?format=xls").await.status, 422);
    assert_eq!(api.get("/v1/usage?group_by=moon").await.refusal(), (422, "validation_failed"));
    let stranger = app.person(&app.trust.owner().colleague(Role::Member));
    let nothing = stranger.get("/v1/usage").await.expect(200);
    assert_eq!(nothing["total"]["calls"], 0, "another tenant");
}

#[tokio::test]
async fn who_may_not_see_an_agent_does_not_see_what_it_used() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let api = app.person(&owner);
    scene::agent(&api, &json!({ "name": "private", "model": "sim:echo" })).await;
    scene::agent(&api, &json!({ "name": "shared", "model": "sim:echo", "scope": "team" })).await;
    run(&api, "private").await;
    run(&api, "shared").await;

    let mate = app.person(&owner.teammate(Role::Member)).get("/v1/usage").await.expect(200);

    assert_eq!(api.get("/v1/usage").await.expect(200)["total"]["calls"], 2);
    let names: Vec<&Value> =
        mate["items"].as_array().unwrap().iter().map(|item| &item["agent_name"]).collect();
    assert_eq!(names, [&json!("shared")]);
    assert_eq!(
        mate["total"]["cost_micro_usd"], 0,
        "a simulated model costs nothing, and that is known"
    );
}

#[tokio::test]
async fn usage_is_told_by_person_also_of_models_that_were_asked_without_a_run() {
    let app = TestApp::start().await;
    let owner = app.trust.owner();
    let mate = owner.teammate(Role::Member);
    let (api, as_mate) = (app.person(&owner), app.person(&mate));
    scene::agent(&api, &json!({ "name": "shared", "model": "sim:echo", "scope": "team" })).await;
    scene::agent(&api, &json!({ "name": "private", "model": "sim:echo" })).await;
    run(&api, "shared").await;
    run(&api, "private").await;
    run(&as_mate, "shared").await;
    let said = json!({ "model": "sim:echo", "messages": [{ "role": "user", "content": "hi" }] });
    as_mate.post("/v1/chat/completions", &said).await.expect(200);
    api.post("/v1/chat/completions", &said).await.expect(200);
    // As an engine of before has counted it.
    sqlx::query(
        "insert into engine.usage select tenant_id, day, agent_id, 'sim:old', slot, 7, 0, 0, 0, 0, 0, 0, 0
         from engine.user_usage limit 1",
    )
    .execute(&mut app.db.admin().await)
    .await
    .unwrap();

    let all = api.get("/v1/usage?group_by=user").await.expect(200);
    let mine = as_mate.get("/v1/usage?group_by=user,agent").await.expect(200);
    let theirs = api.get(&format!("/v1/usage?user_id={}", mate.user)).await.expect(200);

    let mut lines: Vec<(Value, i64)> = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["user_id"].clone(), line["calls"].as_i64().unwrap()))
        .collect();
    lines.sort_by_key(|(_, calls)| *calls);
    assert_eq!(lines, [(json!(mate.user), 2), (json!(owner.user), 3), (Value::Null, 7)]);
    assert_eq!(theirs["total"]["calls"], 2);
    let seen: Vec<(Value, Value)> = mine["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| !line["user_id"].is_null())
        .map(|line| (line["agent_name"].clone(), line["user_id"].clone()))
        .collect();
    let shared = json!("shared");
    let (one, other) = (json!(owner.user), json!(mate.user));
    assert_eq!(seen.len(), 3, "not what others have asked, nor what a private agent was: {mine}");
    for line in [(shared.clone(), one), (shared, other.clone()), (Value::Null, other)] {
        assert!(seen.contains(&line), "{line:?} of {mine}");
    }
    assert_eq!(api.get("/v1/usage?user_id=nobody").await.status, 422);
}

#[tokio::test]
async fn usage_is_a_table_for_whoever_would_rather_have_one() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let kind = async |accept: &str, query: &str| {
        let reply = api.header("accept", accept).get(&format!("/v1/usage{query}")).await;
        assert_eq!((reply.status, reply.header("vary")), (200, Some("accept")), "{accept}");
        reply.header("content-type").unwrap().split(';').next().unwrap().to_owned()
    };
    let table = [
        ("text/csv", "", "text/csv"),
        ("text/csv, */*;q=0.1", "", "text/csv"),
        ("application/json;q=0.5, text/csv; q=0.9", "", "text/csv"),
        ("application/json, text/csv", "", "application/json"),
        ("text/csv;q=0, */*", "", "application/json"),
        ("text/*", "", "text/csv"),
        ("text/csv;q=0, text/*", "", "application/json"),
        ("text/html,*/*;q=0.8", "", "application/json"),
        ("text/csv", "?format=json", "application/json"),
        ("application/json", "?format=csv", "text/csv"),
    ];
    for (accept, query, wanted) in table {
        assert_eq!(kind(accept, query).await, wanted, "{accept} {query}");
    }
}
