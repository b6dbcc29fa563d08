//! More of OpenAI's API: forms of answers, forced tools, embeddings, conversations, and keys that make a repeat harmless.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use testkit::{Answer, Api, Reply, Stub};

use crate::harness::TestApp;
use crate::scene;

async fn ask(api: &Api, model: &str, said: &str, more: &Value) -> Reply {
    let mut body = json!({ "model": model, "messages": [{ "role": "user", "content": said }] });
    json_patch::merge(&mut body, more);
    api.post("/v1/chat/completions", &body).await
}

fn content(reply: Reply) -> String {
    let whole = reply.expect(200);
    whole["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
}

fn number() -> Value {
    let schema = json!({ "type": "object", "required": ["n"], "properties": { "n": { "type": "integer" } } });
    json!({ "type": "json_schema", "json_schema": { "name": "number", "schema": schema } })
}

#[tokio::test]
async fn a_models_provider_is_told_of_the_form_and_of_the_tool_that_must_be_called() {
    let server = Stub::start(|_| {
        let message = json!({ "role": "assistant", "content": "{\"n\":1}" });
        Answer::Json(
            200,
            json!({ "choices": [{ "index": 0, "finish_reason": "stop", "message": message }] }),
        )
    })
    .await;
    let url = format!("{}/v1", server.url());
    let app = TestApp::start_with(&[("OPENAI_BASE_URL", &url), ("OPENAI_API_KEY", "k")]).await;
    let api = app.person(&app.trust.owner());
    let tools = json!([{ "type": "function", "function": { "name": "look" } }]);
    let look = json!({ "type": "function", "function": { "name": "look" } });

    for choice in [json!("required"), look.clone(), json!("none")] {
        let more = json!({ "tools": tools, "tool_choice": choice, "response_format": number() });
        assert_eq!(content(ask(&api, "openai:gpt-4o", "hi", &more).await), "{\"n\":1}");
        let seen = server.requests().last().unwrap().json();
        assert_eq!(seen["tool_choice"], choice);
        assert_eq!(
            seen["response_format"]["json_schema"]["schema"],
            number()["json_schema"]["schema"]
        );
    }
    let refused = ask(&api, "openai:gpt-4o", "hi", &json!({ "tool_choice": look })).await;
    assert_eq!((refused.status, &refused.body["error"]["param"]), (422, &json!("tool_choice")));
}

#[tokio::test]
async fn an_agents_answer_has_the_form_that_was_asked_for_and_is_sent_back_once() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    scene::agent(&api, &json!({ "name": "echo", "model": "sim:echo" })).await;
    // Says something else first, then the number.
    let fixed = json!([{ "text": "one" }]);
    scene::scripted(&api, "never", &fixed).await;
    let form = json!({ "response_format": number() });

    let reply = ask(&api, "agent:echo", "{\"n\": 7}", &form).await;
    let run = reply.header("x-run-id").unwrap().to_owned();
    assert_eq!(content(reply), "{\"n\": 7}");
    let run = scene::get(&api, &run).await;
    assert_eq!((&run["parsed"], &run["output"]), (&json!({ "n": 7 }), &json!("{\"n\": 7}")));

    let failed = ask(&api, "agent:never", "hi", &form).await;
    assert_eq!(failed.refusal(), (502, "run_failed"));
    let failed = scene::get(&api, failed.header("x-run-id").unwrap()).await;
    assert_eq!(
        (&failed["error"]["code"], &failed["steps"], &failed["parsed"]),
        (&json!("output_invalid"), &json!(2), &Value::Null)
    );
    let any = json!({ "response_format": { "type": "json_object" } });
    assert_eq!(content(ask(&api, "agent:echo", "{}", &any).await), "{}");
}

#[tokio::test]
async fn of_an_answer_that_is_json_nothing_but_the_json_is_streamed() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let server = Stub::start(|_| Answer::Json(200, json!(7))).await;
    let turns = json!([
        { "text": "Let me look.", "tool_calls": [{ "name": "look", "arguments": {} }] },
        { "text": "{\"n\": {{last_tool_result}}}" },
    ]);
    let schema = number()["json_schema"]["schema"].clone();
    let agent = json!({ "name": "a", "model": "sim:script", "output_schema": schema,
        "instructions": scene::script(&turns) });
    let agent = scene::agent(&api, &agent).await;
    scene::tool(&api, &agent, "look", &server.url(), "read").await;

    let streamed = ask(&api, "agent:a", "how many?", &json!({ "stream": true })).await;
    let pieces = streamed.text.lines().filter_map(|line| line.strip_prefix("data: {"));
    let pieces = pieces.map(|line| serde_json::from_str::<Value>(&format!("{{{line}")).unwrap());
    let text: String = pieces
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();

    assert_eq!(text, "{\"n\": 7}");
    assert_eq!(content(ask(&api, "agent:a", "how many?", &json!({})).await), "{\"n\": 7}");
    let other = json!({ "response_format": { "type": "json_schema",
        "json_schema": { "name": "n", "schema": { "type": "integer" } } } });
    let refused = ask(&api, "agent:a", "how many?", &other).await;
    assert_eq!((refused.status, &refused.body["error"]["param"]), (422, &json!("response_format")));
}

#[tokio::test]
async fn the_same_key_is_answered_by_the_same_run_and_by_what_the_model_said_before() {
    let server = Stub::start(|_| {
        let message = json!({ "role": "assistant", "content": "once\u{0}" });
        Answer::Json(
            200,
            json!({ "choices": [{ "index": 0, "finish_reason": "stop", "message": message }] }),
        )
    })
    .await;
    let url = format!("{}/v1", server.url());
    let app = TestApp::start_with(&[("OPENAI_BASE_URL", &url), ("OPENAI_API_KEY", "k")]).await;
    let api = app.person(&app.trust.owner());
    scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    let keyed = |key: &str| api.header("idempotency-key", key);
    let none = json!({});

    let first = ask(&keyed("k1"), "agent:a", "hi", &none).await;
    let again = ask(&keyed("k1"), "agent:a", "hi", &none).await;
    let other = ask(&keyed("k2"), "agent:a", "hi", &none).await;
    assert_eq!(first.header("x-run-id"), again.header("x-run-id"));
    assert_eq!(first.header("x-should-retry"), None, "it may be asked again");
    assert_ne!(first.header("x-run-id"), other.header("x-run-id"));
    assert_eq!((content(again), content(other)), ("hi".into(), "hi".into()));
    let changed = ask(&keyed("k1"), "agent:a", "ho", &none).await;
    assert_eq!(changed.refusal(), (422, "idempotency_key_reused"));

    let first = ask(&keyed("k3"), "openai:gpt-4o", "hi", &none).await.expect(200);
    let again = ask(&keyed("k3"), "openai:gpt-4o", "hi", &none).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(first, again.expect(200));
    let streams = json!({ "stream": true });
    let streamed = ask(&keyed("k4"), "openai:gpt-4o", "hi", &streams).await;
    let replayed = ask(&keyed("k4"), "openai:gpt-4o", "hi", &streams).await;
    assert!(streamed.text.contains("once") && streamed.text.ends_with("data: [DONE]\n\n"));
    assert_eq!(streamed.text, replayed.text);
    assert_eq!(server.requests().len(), 2, "once for each key");
}

#[tokio::test]
async fn a_conversation_goes_on_through_openais_door() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    scene::agent(&api, &json!({ "name": "a", "model": "sim:echo" })).await;
    scene::agent(&api, &json!({ "name": "b", "model": "sim:echo" })).await;
    let begun = api.post("/v1/conversations", &json!({ "agent": "a" })).await.expect(201);
    let more = json!({ "conversation_id": begun["conversation_id"], "user": "ada" });

    let reply = ask(&api, "agent:a", "one", &more).await;
    let run = scene::get(&api, reply.header("x-run-id").unwrap()).await;
    assert_eq!(content(ask(&api, "agent:a", "two", &more).await), "two");

    assert_eq!(
        (&run["conversation_id"], &run["end_user_id"]),
        (&begun["conversation_id"], &json!("ada"))
    );
    let path = format!("/v1/conversations/{}/messages", begun["conversation_id"].as_str().unwrap());
    let remembered = testkit::eventually("both to be taken up", async || {
        let page = api.get(&path).await.expect(200);
        (page["items"].as_array().unwrap().len() == 4).then_some(page)
    })
    .await;
    assert_eq!(remembered["items"][2]["message"]["content"], "two");
    let refused = ask(&api, "agent:b", "x", &more).await;
    assert_eq!((refused.status, &refused.body["error"]["param"]), (422, &json!("conversation_id")));
}

#[tokio::test]
async fn texts_become_vectors_by_the_simulated_model_and_by_a_provider() {
    let server = Stub::start(|seen| {
        let count = seen.json()["input"].as_array().unwrap().len();
        let data: Vec<Value> =
            (0..count).map(|index| json!({ "index": index, "embedding": [0.5, -0.5] })).collect();
        Answer::Json(200, json!({ "data": data, "usage": { "prompt_tokens": 9 } }))
    })
    .await;
    let url = format!("{}/v1", server.url());
    let app = TestApp::start_with(&[("OPENAI_BASE_URL", &url), ("OPENAI_API_KEY", "k")]).await;
    let api = app.person(&app.trust.owner());
    let embed = async |body: Value| api.post("/v1/embeddings", &body).await;

    let made = embed(json!({ "model": "sim:embed", "dimensions": 64,
        "input": ["the cat sat", "the cat sat down", "quarterly figures"] }))
    .await
    .expect(200);
    let vector = |at: usize| -> Vec<f64> {
        let values = made["data"][at]["embedding"].as_array().unwrap();
        values.iter().map(|value| value.as_f64().unwrap()).collect()
    };
    let alike =
        |a: usize, b: usize| -> f64 { vector(a).iter().zip(vector(b)).map(|(a, b)| a * b).sum() };
    assert_eq!(
        (vector(0).len(), &made["object"], &made["usage"]["total_tokens"]),
        (64, &json!("list"), &json!(9))
    );
    assert!(alike(0, 1) > alike(0, 2));
    let listed = api.get("/v1/models/sim:embed").await.expect(200);
    assert_eq!((&listed["task"], &listed["simulated"]), (&json!("embedding"), &json!(true)));

    let asked = json!({ "model": "openai:text-embedding-3-small", "input": "one", "encoding_format": "base64" });
    let made = embed(asked).await.expect(200);
    let bytes = STANDARD.decode(made["data"][0]["embedding"].as_str().unwrap()).unwrap();
    assert_eq!(bytes, [0.5_f32.to_le_bytes(), (-0.5_f32).to_le_bytes()].concat());
    assert_eq!(server.requests()[0].json()["model"], "text-embedding-3-small");
    let used = api.get("/v1/usage?group_by=model").await.expect(200);
    let items = used["items"].as_array().unwrap();
    let line = items.iter().find(|item| item["model"] == "openai:text-embedding-3-small").unwrap();
    assert_eq!(line["usage"]["input_tokens"], 9);

    for (body, param) in [
        (json!({ "model": "sim:embed", "input": [] }), "input"),
        (json!({ "model": "sim:embed", "input": [1, 2] }), "input"),
        (json!({ "model": "sim:embed", "input": [""] }), "input"),
        (json!({ "model": "sim:embed", "input": "a", "dimensions": 0 }), "dimensions"),
        (
            json!({ "model": "sim:embed", "input": "a", "encoding_format": "hex" }),
            "encoding_format",
        ),
    ] {
        let refused = embed(body.clone()).await;
        assert_eq!(
            (refused.status, &refused.body["error"]["param"]),
            (422, &json!(param)),
            "{body}"
        );
    }
    for model in ["sim:echo", "anthropic:claude-sonnet-4-6", "martian:x"] {
        let refused = embed(json!({ "model": model, "input": "a" })).await;
        assert_eq!(refused.refusal(), (422, "model_unavailable"), "{model}");
    }
    let refused = ask(&api, "sim:embed", "hi", &json!({})).await;
    assert_eq!(refused.refusal(), (422, "model_unavailable"), "it does not chat");
}
