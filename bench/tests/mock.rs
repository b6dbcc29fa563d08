//! The mock speaks the protocol: what is measured against it is what a real server would be told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use agentcore::{
    Agent, EventKind, FnTool, Message, StreamEvent, models::openai::OpenAi, run, run_stream,
};
use futures::StreamExt as _;
use serde_json::{Value, json};

struct Mock {
    child: Child,
    url: String,
    http: reqwest::Client,
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Mock {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
        let mut child = command.arg("mock").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").expect("an address");
        let http = servicekit::peer::internal_http().unwrap();
        Self { url: format!("http://{address}"), child, http }
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, String, String) {
        let answer = self.http.post(format!("{}{path}", self.url)).json(body).send().await.unwrap();
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        (answer.status().as_u16(), kind, answer.text().await.unwrap())
    }

    fn agent(&self, model: &str, called: Arc<AtomicUsize>) -> Agent {
        let url = format!("{}/v1", self.url).parse().unwrap();
        let provider = Arc::new(OpenAi::new(self.http.clone(), url, Some("sk-test".into())));
        let parameters = json!({ "type": "object", "required": ["text"],
            "properties": { "text": { "type": "string" } }, "additionalProperties": false });
        let tool = FnTool::new("look_up", "Looks it up.", parameters, move |_: Value| {
            called.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Ok("found"))
        });
        let model = format!("openai:{model}");
        Agent::builder("tester").model(model).provider(provider).tool(tool).build().unwrap()
    }
}

fn ask(stream: bool, told: bool) -> Value {
    let mut messages = vec![json!({ "role": "user", "content": "Well?" })];
    if told {
        messages.push(json!({ "role": "tool", "tool_call_id": "call_1", "content": "{}" }));
    }
    let tool = json!({ "type": "function", "function": { "name": "look_up", "parameters": {} } });
    json!({ "model": "mock", "stream": stream, "messages": messages, "tools": [tool] })
}

#[tokio::test]
async fn an_agent_calls_the_tool_once_and_then_answers() {
    let mock = Mock::start();
    let called = Arc::new(AtomicUsize::new(0));

    let result = run(&mock.agent("mock", called.clone()), "Well?").await.unwrap();

    assert_eq!((result.steps, called.load(Ordering::SeqCst)), (2, 1));
    assert_eq!(result.output, "The tool said that all is well.");
    assert_eq!(result.usage.output_tokens, 20);
    let tool = result.messages.iter().find(|message| matches!(message, Message::Tool { .. }));
    assert!(matches!(tool, Some(Message::Tool { error: false, .. })), "{tool:?}");
}

#[tokio::test]
async fn without_a_stream_the_same_is_said_in_one_piece() {
    let mock = Mock::start();

    let (status, kind, text) = mock.post("/v1/chat/completions", &ask(false, false)).await;
    assert_eq!((status, &*kind), (200, "application/json"));
    let said: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(said["choices"][0]["finish_reason"], "tool_calls");
    let call = &said["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(call["name"], "look_up");
    assert_eq!(call["arguments"], r#"{"text":"benchmark"}"#);

    let (_, _, text) = mock.post("/v1/chat/completions", &ask(false, true)).await;
    let said: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(said["choices"][0]["finish_reason"], "stop");
    assert_eq!(said["choices"][0]["message"]["content"], "The tool said that all is well.");
}

#[tokio::test]
async fn a_stream_ends_with_done_and_tells_the_usage_to_who_asks() {
    let mock = Mock::start();
    let mut asked = ask(true, true);

    let (_, kind, plain) = mock.post("/v1/chat/completions", &asked).await;
    asked["stream_options"] = json!({ "include_usage": true });
    let (_, _, with_usage) = mock.post("/v1/chat/completions", &asked).await;

    assert_eq!(kind, "text/event-stream");
    assert!(plain.ends_with("data: [DONE]\n\n") && with_usage.ends_with("data: [DONE]\n\n"));
    assert!(!plain.contains("\"total_tokens\":30") && with_usage.contains("\"total_tokens\":30"));
}

#[tokio::test]
async fn a_dripping_model_says_the_time_again_and_again() {
    let mock = Mock::start();
    let agent = mock.agent("drip-3-10", Arc::default());

    let events: Vec<StreamEvent> =
        run_stream(&agent, "Tell me.").map(|event| event.unwrap()).collect().await;

    let words: Vec<u64> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Text { text } => text.trim().parse().ok(),
            _ => None,
        })
        .collect();
    assert_eq!(words.len(), 3);
    assert!(words.is_sorted() && words[0] > 1_700_000_000_000_000, "{words:?}");
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let mock = Mock::start();

    assert_eq!(mock.post("/v1/chat/completions", &json!({ "model": 1 })).await.0, 400);
    assert_eq!(mock.post("/v1/responses", &json!({})).await.0, 404);
    assert_eq!(mock.post("/tool", &json!({ "text": "x" })).await.0, 200);
}
