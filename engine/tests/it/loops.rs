//! The loop as runs go through it: how models are asked, and how the calls of a turn are made.

use std::sync::Arc;

use axum::{Json, Router, extract::Path, routing::post};
use serde_json::{Value, json};
use testkit::{Answer, Stub};
use tokio::sync::Barrier;

use crate::harness::TestApp;
use crate::scene;

#[tokio::test]
async fn a_model_is_asked_as_its_agent_says_and_the_fallback_when_it_refuses() {
    let model = Stub::start(|seen| {
        if seen.json()["model"] == "gpt-4o" {
            return Answer::Json(400, json!({ "error": { "message": "not today" } }));
        }
        let message = json!({ "role": "assistant", "content": "in its place" });
        Answer::Json(200, json!({ "choices": [{ "index": 0, "message": message }] }))
    })
    .await;
    let url = format!("{}/v1", model.url());
    let app = TestApp::start_with(&[
        ("OPENAI_BASE_URL", &url),
        ("OPENAI_API_KEY", "k"),
        ("SWITCHYARD_EGRESS_ALLOW", "127.0.0.1"),
    ])
    .await;
    let api = app.person(&app.trust.owner());
    let agent = json!({ "name": "a", "model": "gpt-4o", "fallback_model": "openai:gpt-4o-mini",
        "temperature": 0.25, "max_tokens": 77, "instructions": "Be brief." });
    scene::agent(&api, &agent).await;

    let run = json!({ "agent": "a", "input": "go", "wait": 30 });
    let ended = api.post("/v1/runs", &run).await.expect(200);

    assert_eq!((&ended["status"], &ended["output"]), (&json!("succeeded"), &json!("in its place")));
    let asked: Vec<Value> = model.requests().iter().map(testkit::Stubbed::json).collect();
    let models: Vec<&Value> = asked.iter().map(|body| &body["model"]).collect();
    assert_eq!(models, ["gpt-4o", "gpt-4o-mini"], "what was refused is not asked again");
    for body in &asked {
        assert_eq!(body["temperature"], 0.25, "{body}");
        let most = [&body["max_tokens"], &body["max_completion_tokens"]];
        assert!(most.contains(&&json!(77)), "{body}");
        assert_eq!(body["messages"][0], json!({ "role": "system", "content": "Be brief." }));
    }
    let kinds = scene::kinds(&app.db, ended["run_id"].as_str().unwrap()).await;
    assert!(kinds.contains(&"model_retried".to_owned()), "{kinds:?}");
}

/// Answers nobody before two have asked.
async fn pair() -> String {
    let both = Arc::new(Barrier::new(2));
    let answer = move |Path(name): Path<String>| {
        let both = both.clone();
        async move {
            both.wait().await;
            Json(json!(name))
        }
    };
    let router = Router::new().route("/{name}", post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    #[allow(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test]
async fn the_calls_of_a_turn_are_made_at_the_same_time_and_answered_in_their_order() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let url = pair().await;
    let call = |name: &str| json!({ "name": name, "arguments": {} });
    let turns = json!([{ "tool_calls": [call("second"), call("first")] }, { "text": "both" }]);
    let agent = scene::scripted(&api, "a", &turns).await;
    for name in ["first", "second"] {
        let limit = ("read", 60_000);
        scene::tool_within(&api, &agent, name, &format!("{url}/{name}"), limit).await;
    }

    let run = scene::start(&api, &agent).await;

    assert_eq!(scene::until(&api, &run, "succeeded").await["output"], "both");
    let said = api.get(&format!("/v1/runs/{run}/messages")).await.expect(200);
    let answers: Vec<(&Value, &Value)> = said["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|message| message["role"] == "tool")
        .map(|message| (&message["tool_name"], &message["content"]))
        .collect();
    assert_eq!(
        answers,
        [(&json!("second"), &json!("\"second\"")), (&json!("first"), &json!("\"first\""))]
    );
}
