//! OpenAI's API over models and agents.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Answer, Api, Reply, Stub, eventually};

use crate::harness::TestApp;
use crate::scene;

async fn ask(api: &Api, body: &Value) -> Reply {
    api.post("/v1/chat/completions", body).await
}

fn asking(model: &str, more: &Value) -> Value {
    let mut body =
        json!({ "model": model, "messages": [{ "role": "user", "content": "Hello there" }] });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// The chunks of a stream, checked to end as they should.
fn chunks(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.status, 200, "{}", reply.text);
    let data = reply.text.lines().filter_map(|line| line.strip_prefix("data: "));
    let mut data: Vec<&str> = data.collect();
    assert_eq!(data.pop(), Some("[DONE]"), "{}", reply.text);
    data.into_iter().map(|data| serde_json::from_str(data).unwrap()).collect()
}

fn text(chunks: &[Value]) -> String {
    let content =
        |chunk: &Value| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned);
    chunks.iter().filter_map(content).collect()
}

#[tokio::test]
async fn a_model_answers_as_a_whole_and_in_pieces() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());

    let whole = ask(&api, &asking("sim:echo", &json!({}))).await.expect(200);
    let more = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let pieces = chunks(&ask(&api, &asking("sim:echo", &more)).await);
    let plain = chunks(&ask(&api, &asking("sim:echo", &json!({ "stream": true }))).await);

    assert_eq!(
        (&whole["object"], &whole["model"]),
        (&json!("chat.completion"), &json!("sim:echo"))
    );
    let choice = &whole["choices"][0];
    assert_eq!(choice["message"]["content"], "Hello there");
    assert_eq!(
        (&choice["message"]["role"], &choice["finish_reason"]),
        (&json!("assistant"), &json!("stop"))
    );
    assert_eq!(whole["usage"]["total_tokens"], 4);
    assert_eq!(text(&pieces), "Hello there");
    assert_eq!(pieces[0]["choices"][0]["delta"]["role"], "assistant");
    let [.., last, usage] = pieces.as_slice() else { panic!("{pieces:?}") };
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!((&usage["choices"], &usage["usage"]["total_tokens"]), (&json!([]), &json!(4)));
    assert!(
        plain.iter().all(|chunk| chunk.get("usage").is_none() && chunk["choices"][0].is_object())
    );
}

#[tokio::test]
async fn a_models_tool_calls_are_the_callers_to_make() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let function = json!({ "name": "look", "parameters": { "type": "object", "properties": { "q": { "type": "string" } },
        "required": ["q"] } });
    let tools = json!([{ "type": "function", "function": function }]);

    let asked = ask(&api, &asking("sim:demo", &json!({ "tools": tools }))).await.expect(200);
    let more = json!({ "tools": tools, "stream": true });
    let pieces = chunks(&ask(&api, &asking("sim:demo", &more)).await);
    let call = asked["choices"][0]["message"]["tool_calls"][0].clone();
    let told = json!({ "tools": tools, "messages": [{ "role": "user", "content": "Hello" },
        asked["choices"][0]["message"], { "role": "tool", "tool_call_id": call["id"], "content": "found it" }] });
    let answered = ask(&api, &asking("sim:demo", &told)).await.expect(200);
    let none = json!({ "tools": tools, "tool_choice": "none" });
    let without = ask(&api, &asking("sim:demo", &none)).await.expect(200);

    assert_eq!((&call["type"], &call["function"]["name"]), (&json!("function"), &json!("look")));
    assert_eq!(asked["choices"][0]["finish_reason"], "tool_calls");
    let delta =
        pieces.iter().find_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"][0].as_object());
    let delta = delta.unwrap();
    assert_eq!((&delta["index"], &delta["function"]["name"]), (&json!(0), &json!("look")));
    assert!(answered["choices"][0]["message"]["content"].as_str().unwrap().contains("found it"));
    assert_eq!(without["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn an_agent_answers_by_a_durable_run_that_calls_its_tools() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|_| Answer::Json(200, json!("42"))).await;
    let agent = scene::scripted(&api, "finder", &scene::calls(&["look"])).await;
    scene::tool(&api, &agent, "look", &server.url(), "read").await;

    let reply = ask(&api, &asking("agent:finder", &json!({}))).await;
    let run = reply.header("x-run-id").unwrap().to_owned();
    let whole = reply.expect(200);
    let more = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let streamed = ask(&api, &asking(&format!("agent:{agent}"), &more)).await;
    let pieces = chunks(&streamed);

    assert_eq!(whole["choices"][0]["message"]["content"], "told: \"42\"");
    let kept = scene::get(&api, &run).await;
    assert_eq!((&kept["status"], &kept["output"]), (&json!("succeeded"), &json!("told: \"42\"")));
    assert_eq!(text(&pieces), "told: \"42\"");
    assert_eq!(pieces.last().unwrap()["usage"], whole["usage"]);
    assert_ne!(streamed.header("x-run-id"), Some(run.as_str()));
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn an_agent_hears_what_was_said_before() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let turns = json!([{ "text": "You said {{input}}" }]);
    scene::scripted(&api, "a", &turns).await;
    let said = json!({ "messages": [{ "role": "user", "content": "One\u{0}" }, { "role": "assistant", "content": "Two" },
        { "role": "user", "content": "Three" }] });

    let reply = ask(&api, &asking("agent:a", &said)).await;
    let run = reply.header("x-run-id").unwrap().to_owned();
    let whole = reply.expect(200);

    assert_eq!(whole["choices"][0]["message"]["content"], "You said Three");
    // Four of the script, and one each of what was said.
    assert!(whole["usage"]["prompt_tokens"].as_u64().unwrap() >= 3);
    let messages = api.get(&format!("/v1/runs/{run}/messages")).await.expect(200);
    let own: Vec<&Value> =
        messages["items"].as_array().unwrap().iter().map(|m| &m["content"]).collect();
    assert_eq!(
        own,
        [&json!("Three"), &json!("You said Three")],
        "what was said before is not of the run"
    );
}

#[tokio::test]
async fn refusals_are_problems_with_openais_error_beside_them() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    scene::agent(&api, &json!({ "name": "asleep", "model": "sim:echo", "status": "paused" })).await;
    scene::scripted(&api, "broken", &json!([{ "fail": { "status": 400 } }])).await;

    let refused = async |body: &Value| {
        let reply = ask(&api, body).await;
        let error = &reply.body["error"];
        assert_eq!(error["code"], reply.body["code"]);
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{}", reply.text);
        (
            reply.status,
            error["type"].as_str().unwrap().to_owned(),
            reply.code().to_owned(),
            error["param"].clone(),
        )
    };
    let invalid = "invalid_request_error".to_owned();
    let none = Value::Null;
    let cases = [
        (
            asking("openai:gpt-4o", &json!({})),
            (422, invalid.clone(), "model_unavailable", none.clone()),
        ),
        (
            asking("agent:nobody", &json!({})),
            (404, invalid.clone(), "agent_not_found", none.clone()),
        ),
        (
            asking("agent:asleep", &json!({})),
            (409, invalid.clone(), "agent_not_active", none.clone()),
        ),
        (
            asking("agent:broken", &json!({})),
            (502, "server_error".into(), "run_failed", none.clone()),
        ),
        (
            asking("sim:echo", &json!({ "n": 2 })),
            (422, invalid.clone(), "validation_failed", json!("n")),
        ),
        (json!({ "model": "sim:echo" }), (422, invalid.clone(), "validation_failed", none.clone())),
    ];
    for (body, (status, kind, code, param)) in cases {
        let (found_status, found_kind, found_code, found_param) = refused(&body).await;
        assert_eq!((found_status, found_kind, found_code.as_str()), (status, kind, code), "{body}");
        if code == "validation_failed" && !param.is_null() {
            assert_eq!(found_param, param);
        }
    }
    let anonymous = app.api.post("/v1/chat/completions", &asking("sim:echo", &json!({}))).await;
    assert_eq!(
        (anonymous.status, &anonymous.body["error"]["type"]),
        (401, &json!("authentication_error"))
    );
    let failed = ask(&api, &asking("agent:broken", &json!({}))).await;
    assert_eq!(failed.header("x-should-retry"), Some("false"), "that would be another run");
}

/// Hangs up as soon as this is so; nobody has answered by then.
async fn until_hung_up<T>(
    asking: impl Future<Output = Reply>,
    so: impl AsyncFnMut() -> Option<T>,
) -> T {
    tokio::select! {
        early = asking => panic!("answered before it was hung up on: {}", early.text),
        so = eventually("the moment to hang up", so) => so,
    }
}

#[tokio::test]
async fn a_model_call_that_no_run_makes_is_metered_and_one_given_up_stays_without_a_price() {
    let server = Stub::start(|_| {
        let late = Answer::Json(200, json!({ "choices": [{ "message": { "content": "late" } }] }));
        Answer::After(Duration::from_secs(60), Box::new(late))
    })
    .await;
    let url = format!("{}/v1", server.url());
    let app = TestApp::start_with(&[("OPENAI_BASE_URL", &url), ("OPENAI_API_KEY", "k")]).await;
    let api = app.person(&app.trust.owner());

    ask(&api, &asking("sim:echo", &json!({}))).await.expect(200);
    let asked = asking("openai:gpt-4o", &json!({}));
    until_hung_up(ask(&api, &asked), async || (!server.requests().is_empty()).then_some(())).await;

    let used = eventually("both calls", async || {
        let used = api.get("/v1/usage?group_by=model").await.expect(200);
        (used["total"]["calls"] == 2).then_some(used)
    })
    .await;
    let line = |model: &str| {
        let items = used["items"].as_array().unwrap();
        items.iter().find(|item| item["model"] == model).cloned().unwrap()
    };
    assert_eq!(line("openai:gpt-4o")["unpriced_calls"], 1);
    assert_eq!(line("sim:echo")["unpriced_calls"], 0);
    assert_eq!(line("sim:echo")["usage"]["output_tokens"], 2);
}

#[tokio::test]
async fn hanging_up_ends_an_agents_run_only_if_that_was_asked_for() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let turns = json!([{ "text": "late", "delay_ms": 60_000 }]);
    scene::scripted(&api, "slow", &turns).await;
    let newest = async |n: usize| {
        let runs = api.get("/v1/runs?status=running").await.expect(200);
        let runs = runs["items"].as_array().unwrap();
        (runs.len() == n).then(|| runs[0]["run_id"].as_str().unwrap().to_owned())
    };
    let give_up = async |n: usize, more: Value| {
        let asked = asking("agent:slow", &more);
        until_hung_up(ask(&api, &asked), async || newest(n).await).await
    };

    let stays = give_up(1, json!({})).await;
    let goes = give_up(2, json!({ "on_disconnect": "cancel" })).await;

    assert_eq!(
        scene::until(&api, &goes, "cancelled").await["error"]["message"],
        "its caller hung up"
    );
    assert_eq!(scene::get(&api, &stays).await["status"], "running");
}
