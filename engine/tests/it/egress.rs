//! Models go out by the same guarded way as tools.

use serde_json::{Value, json};
use testkit::{Answer, Api, Stub};

use crate::harness::TestApp;

async fn ask(api: &Api, agent: &Value) -> Value {
    let made = api.post("/v1/agents", agent).await.expect(201);
    let run = json!({ "agent_id": made["agent_id"], "input": "hi", "wait": 30 });
    api.post("/v1/runs", &run).await.expect(200)
}

fn completion(text: &str) -> Answer {
    let choice = json!({ "index": 0, "finish_reason": "stop",
        "message": { "role": "assistant", "content": text } });
    Answer::Json(
        200,
        json!({ "choices": [choice], "usage": { "prompt_tokens": 1, "completion_tokens": 1 } }),
    )
}

#[tokio::test]
async fn the_operators_own_model_server_may_be_private() {
    let server = Stub::start(|_| completion("from inside")).await;
    let url = format!("{}/v1", server.url());
    let app =
        TestApp::start_with(&[("OPENAI_BASE_URL", &url), ("OPENAI_API_KEY", "operators-key")])
            .await;
    let api = app.person(&app.trust.owner());

    let run = ask(&api, &json!({ "name": "a", "model": "openai:local" })).await;

    assert_eq!(
        (&run["status"], &run["output"]),
        (&json!("succeeded"), &json!("from inside")),
        "{run}"
    );
    let seen = &server.requests()[0];
    assert_eq!(
        (seen.path.as_str(), seen.header("authorization")),
        ("/v1/chat/completions", "Bearer operators-key")
    );
}

#[tokio::test]
async fn a_tenants_base_url_is_checked_and_never_gets_the_operators_key() {
    let server = Stub::start(|_| completion("from the tenant's server")).await;
    let base = format!("{}/v1", server.url());
    let allowed = format!("127.0.0.1:{}", server.port());
    let open = TestApp::start_with(&[
        ("SWITCHYARD_EGRESS_ALLOW", &allowed),
        ("OPENAI_API_KEY", "operators-key"),
    ])
    .await;
    let closed = TestApp::start_with(&[("OPENAI_API_KEY", "operators-key")]).await;

    for (app, status) in [(&open, "succeeded"), (&closed, "failed")] {
        let api = app.person(&app.trust.owner());
        let credential =
            app.peers.credential(json!({ "api_key": "tenants-key", "base_url": base }));
        let agent = json!({ "name": "a", "model": "openai:x", "model_credential_id": credential });
        let run = ask(&api, &agent).await;
        assert_eq!(run["status"], status, "{run}");
        assert!(!run.to_string().contains("tenants-key"));
    }
    let keys: Vec<_> =
        server.requests().iter().map(|seen| seen.header("authorization").to_owned()).collect();
    assert_eq!(keys, ["Bearer tenants-key"]);
}

#[tokio::test]
async fn without_any_key_no_run_starts_and_the_refusal_says_what_is_missing() {
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let agent = json!({ "name": "a", "model": "openai:gpt-4o" });
    api.post("/v1/agents", &agent).await.expect(201);

    let refused = api.post("/v1/runs", &json!({ "agent": "a", "input": "hi" })).await;

    assert_eq!(refused.refusal(), (422, "model_unavailable"));
    assert!(refused.text.contains("OPENAI_API_KEY"), "{}", refused.text);
}
