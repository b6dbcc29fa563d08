//! What may go wrong between us and any provider, whatever its protocol.

use std::time::Duration;

use agentcore::models::Limits;
use agentcore::{
    Model, ModelErrorKind, ModelEvent, Progress, ReplyFinish, RetryPolicy, complete_with_retries,
};
use axum::body::Body;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::provider::{KEY, Provider, ask, data, hello, pieces, status, stuck};

/// The three clients, with a way to say `Hello` to each; in two chunks.
fn clients(provider: &Provider, limits: Limits) -> [(Box<dyn Model>, [Value; 2]); 3] {
    let chat = |text: &str, finish: Value| json!({ "choices": [{ "delta": { "content": text }, "finish_reason": finish }] });
    let gemini = |text: &str, finish: Value| json!({ "candidates": [{ "content": { "parts": [{ "text": text }] }, "finishReason": finish }] });
    let block = json!({ "type": "content_block_start", "index": 0,
        "content_block": { "type": "text", "text": "Hello" } });
    let end = json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" } });
    [
        (
            Box::new(provider.model().limits(limits)),
            [chat("Hel", Value::Null), chat("lo", json!("stop"))],
        ),
        (Box::new(provider.anthropic().limits(limits)), [block, end]),
        (
            Box::new(provider.gemini().limits(limits)),
            [gemini("Hel", Value::Null), gemini("lo", json!("STOP"))],
        ),
    ]
}

async fn same_of_all(make: impl Fn(&Value) -> Response, limits: Limits, expected: ModelErrorKind) {
    for which in 0..3 {
        let nobody = Provider::start([]).await;
        let answer = make(&clients(&nobody, limits)[which].1[0]);
        let provider = Provider::start([answer]).await;
        let (model, _) = &clients(&provider, limits)[which];
        let error = ask(&**model, &hello()).await.0.unwrap_err();
        assert_eq!(error.kind, expected, "{}: {error}", model.name());
        assert!(!error.to_string().contains(KEY), "{error}");
    }
}

#[tokio::test]
async fn each_status_means_the_same_everywhere() {
    let table = [
        (400, ModelErrorKind::Invalid),
        (401, ModelErrorKind::Auth),
        (402, ModelErrorKind::Quota),
        (403, ModelErrorKind::Permission),
        (404, ModelErrorKind::Invalid),
        (408, ModelErrorKind::Timeout),
        (429, ModelErrorKind::RateLimited),
        (500, ModelErrorKind::Overloaded),
        (503, ModelErrorKind::Overloaded),
        (529, ModelErrorKind::Overloaded),
    ];
    for (code, expected) in table {
        let echo = format!("you sent {KEY}");
        same_of_all(|_| status(code, echo.clone()), Limits::default(), expected).await;
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Provider::start([]).await;
    let make = |_: &Value| {
        let answer = Response::builder().status(307).header("location", &elsewhere.base_url);
        answer.body(Body::empty()).unwrap()
    };
    same_of_all(make, Limits::default(), ModelErrorKind::Invalid).await;
    assert_eq!(elsewhere.asked().len(), 0);
}

#[tokio::test]
async fn a_page_of_a_proxy_is_no_reply() {
    let make = |_: &Value| {
        let page = Response::builder().header("content-type", "text/html; charset=utf-8");
        page.body("<html>Please log in.</html>".into()).unwrap()
    };
    same_of_all(make, Limits::default(), ModelErrorKind::Malformed).await;
}

#[tokio::test]
async fn a_reply_that_breaks_off_is_cut() {
    let make = |chunk: &Value| pieces(vec![data(chunk)]);
    same_of_all(make, Limits::default(), ModelErrorKind::Cut).await;
    let in_mid_chunk = |chunk: &Value| {
        let mut whole = data(chunk);
        whole.truncate(whole.len() - 9);
        pieces(vec![whole])
    };
    same_of_all(in_mid_chunk, Limits::default(), ModelErrorKind::Cut).await;
}

#[tokio::test]
async fn a_chunk_that_is_nonsense_is_malformed() {
    let make = |chunk: &Value| pieces(vec![data(chunk), b"data: {\"oops\n\n".to_vec()]);
    same_of_all(make, Limits::default(), ModelErrorKind::Malformed).await;
}

#[tokio::test]
async fn silence_is_limited_in_the_middle() {
    let limits = Limits { idle: Duration::from_millis(50), ..Limits::default() };
    same_of_all(|chunk| stuck(vec![data(chunk)]), limits, ModelErrorKind::Timeout).await;
}

#[tokio::test]
async fn silence_is_limited_at_the_start() {
    // Accepts connections, as the system does that for it, and never says a word.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let limits = Limits { first_byte: Duration::from_millis(50), ..Limits::default() };
    let mut silent = Provider::start([]).await;
    silent.base_url = base_url;
    for (model, _) in clients(&silent, limits) {
        let error = ask(&*model, &hello()).await.0.unwrap_err();
        assert_eq!(error.kind, ModelErrorKind::Timeout, "{error}");
        assert!(error.is_transient());
    }
}

#[tokio::test]
async fn a_line_may_not_be_endless_nor_a_reply() {
    let huge = |_: &Value| pieces(vec![b"data: ".to_vec(), vec![b'x'; 5000]]);
    let limits = Limits { line: 4000, ..Limits::default() };
    same_of_all(huge, limits, ModelErrorKind::Malformed).await;

    let many = |chunk: &Value| pieces((0..200).map(|_| data(chunk)).collect());
    let limits = Limits { reply: 4000, ..Limits::default() };
    same_of_all(many, limits, ModelErrorKind::Malformed).await;
}

#[tokio::test]
async fn a_failed_call_is_made_again_from_the_beginning() {
    for which in 0..3 {
        let nobody = Provider::start([]).await;
        let [first, last] = clients(&nobody, Limits::default())[which].1.clone();
        let busy = Response::builder().status(429).header("retry-after-ms", "1");
        let answers = [
            status(500, "starting"),
            busy.body(Body::empty()).unwrap(),
            status(529, "busy"),
            pieces(vec![data(&first)]),
            pieces(vec![data(&first), data(&last)]),
        ];
        let provider = Provider::start(answers).await;
        let (model, _) = &clients(&provider, Limits::default())[which];
        let policy = RetryPolicy {
            max_retries: 4,
            base: Duration::from_millis(1),
            ..RetryPolicy::default()
        };
        let mut seen = String::new();
        let see = |progress| match progress {
            Progress::Event(ModelEvent::TextDelta(text)) => seen.push_str(&text),
            Progress::Event(_) => {}
            Progress::Retrying { error, .. } => {
                seen = format!("[{}]", error.kind.name());
            }
        };

        let reply = complete_with_retries(&**model, &hello(), policy, see).await.unwrap();

        assert_eq!((reply.content.as_str(), reply.finish), ("Hello", ReplyFinish::Stop));
        assert_eq!(seen, "[cut]Hello", "{}", model.name());
        assert_eq!(provider.asked().len(), 5);
    }
}
