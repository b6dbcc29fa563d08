//! A model that pauses in the middle of its turn.

use serde_json::{Value, json};
use testkit::{Answer, Stub};

use crate::harness::TestApp;
use crate::scene;

/// A streamed reply of Anthropic's form.
fn reply(text: &str, stop: &str) -> Answer {
    let events = [
        (
            "message_start",
            json!({ "message": { "usage": { "input_tokens": 3, "output_tokens": 1 } } }),
        ),
        (
            "content_block_start",
            json!({ "index": 0, "content_block": { "type": "text", "text": "" } }),
        ),
        (
            "content_block_delta",
            json!({ "index": 0, "delta": { "type": "text_delta", "text": text } }),
        ),
        ("content_block_stop", json!({ "index": 0 })),
        (
            "message_delta",
            json!({ "delta": { "stop_reason": stop }, "usage": { "output_tokens": 2 } }),
        ),
        ("message_stop", json!({})),
    ];
    let line = |(kind, mut data): (&str, Value)| {
        data["type"] = json!(kind);
        format!("event: {kind}\ndata: {data}\n\n")
    };
    let body: String = events.into_iter().map(line).collect();
    let headers = vec![("content-type".to_owned(), "text/event-stream".to_owned())];
    Answer::Raw(200, headers, body.into_bytes())
}

#[tokio::test]
async fn a_model_that_pauses_is_asked_to_go_on_with_what_it_has_said() {
    let model = Stub::start(|seen| {
        let has_begun =
            seen.json()["messages"].as_array().unwrap().iter().any(|m| m["role"] == "assistant");
        if has_begun { reply("the end", "end_turn") } else { reply("to begin with", "pause_turn") }
    })
    .await;
    let app = TestApp::start_with(&[
        ("ANTHROPIC_BASE_URL", &model.url()),
        ("ANTHROPIC_API_KEY", "k"),
        ("SWITCHYARD_EGRESS_ALLOW", "127.0.0.1"),
    ])
    .await;
    let api = app.person(&app.trust.owner());
    scene::agent(&api, &json!({ "name": "a", "model": "anthropic:claude-sonnet-4-5" })).await;

    let run = json!({ "agent": "a", "input": "go", "wait": 30 });
    let ended = api.post("/v1/runs", &run).await.expect(200);

    assert_eq!(
        (&ended["status"], &ended["output"]),
        (&json!("succeeded"), &json!("the end")),
        "{ended}"
    );
    assert_eq!((&ended["steps"], &ended["usage"]["output_tokens"]), (&json!(2), &json!(4)));
    let asked = model.requests();
    assert_eq!(asked.len(), 2);
    let told = asked[1].json()["messages"].clone();
    assert_eq!(told[1]["role"], "assistant", "{told}");
    assert!(told[1].to_string().contains("to begin with"), "{told}");
    let path = format!("/v1/runs/{}/messages", ended["run_id"].as_str().unwrap());
    let said = api.get(&path).await.expect(200);
    assert_eq!(said["items"].as_array().unwrap().len(), 3, "{said}");
}
