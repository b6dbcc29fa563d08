//! Conversations that grow beyond what their model can read.

use serde_json::{Value, json};
use testkit::{Answer, Stub};

use crate::harness::TestApp;
use crate::scene;

#[tokio::test]
async fn a_conversation_that_outgrows_its_models_window_is_summarised_and_the_journal_says_so() {
    let server = Stub::start(|seen| {
        let body = seen.json();
        let task = body["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
        let text = if task.starts_with("Summarise") { "THE GIST" } else { "well" };
        let message = json!({ "role": "assistant", "content": text });
        Answer::Json(
            200,
            json!({ "choices": [{ "index": 0, "finish_reason": "stop", "message": message }],
            "usage": { "prompt_tokens": 10, "completion_tokens": 2 } }),
        )
    })
    .await;
    let app = TestApp::start().await;
    let api = app.person(&app.trust.owner());
    let model = json!({ "name": "house:small", "base_url": format!("{}/v1", server.url()), "context_window": 1000 });
    api.post("/v1/model-settings", &model).await.expect(201);
    scene::agent(&api, &json!({ "name": "a", "model": "house:small" })).await;
    let talk = api.post("/v1/conversations", &json!({ "agent": "a" })).await.expect(201);
    let say = async |text: String| {
        let run = json!({ "conversation_id": talk["conversation_id"], "input": text, "wait": 30 });
        api.post("/v1/runs", &run).await.expect(200)
    };

    say("first ".repeat(400)).await;
    let ended = say("second ".repeat(250)).await;

    assert_eq!(
        (&ended["status"], &ended["output"]),
        (&json!("succeeded"), &json!("well")),
        "{ended}"
    );
    let run = ended["run_id"].as_str().unwrap();
    let kinds = scene::kinds(&app.db, run).await;
    assert!(kinds.contains(&"summarised".to_owned()), "{kinds:?}");
    let last = server.requests().last().unwrap().json();
    let told: Vec<Value> = last["messages"].as_array().unwrap().clone();
    let text = Value::from(told).to_string();
    assert!(text.contains("THE GIST") && text.contains("second second"), "{text:.300}");
    assert!(!text.contains("first first"), "what was summarised is not sent: {text:.300}");
    assert_eq!(ended["usage"]["output_tokens"], 4, "the summary counts, too");
    // It is summed up once: the next run is told the summary, and what was said since then.
    let third = say("third".into()).await;
    assert_eq!(third["output"], "well", "{third}");
    let kinds = scene::kinds(&app.db, third["run_id"].as_str().unwrap()).await;
    assert!(!kinds.contains(&"summarised".to_owned()), "{kinds:?}");
    let last = server.requests().last().unwrap().json()["messages"].to_string();
    for (text, is_told) in
        [("THE GIST", true), ("second second", true), ("third", true), ("first first", false)]
    {
        assert_eq!(last.contains(text), is_told, "{text}: {last:.300}");
    }
    let again = format!("/v1/runs/{}/retry", third["run_id"].as_str().unwrap());
    let again = api.post(&again, &json!({})).await.expect(201);
    scene::until(&api, again["run_id"].as_str().unwrap(), "succeeded").await;
    let last = server.requests().last().unwrap().json()["messages"].to_string();
    assert!(last.contains("THE GIST") && last.contains("third"), "{last:.300}");
    // What the conversation remembers is what was said.
    let path = format!("/v1/conversations/{}/messages", talk["conversation_id"].as_str().unwrap());
    testkit::eventually("all to be taken up", async || {
        let page = api.get(&path).await.expect(200);
        (page["items"].as_array().unwrap().len() == 6).then_some(())
    })
    .await;
}
