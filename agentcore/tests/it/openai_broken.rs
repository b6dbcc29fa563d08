//! `chat/completions` as it also happens.

use std::time::Duration;

use agentcore::{Agent, RunError, run};
use agentcore::{
    FailureCode, ModelError, ModelErrorKind, Progress, RetryPolicy, complete, complete_with_retries,
};
use axum::response::Response;
use serde_json::json;
use std::sync::Arc;
use tokio::net::TcpListener;

use crate::provider::{
    KEY, Provider, broken, data, done, hello, openai, pieces, says, status, stops, stuck,
};

fn eager() -> RetryPolicy {
    RetryPolicy { base: Duration::from_millis(1), ..RetryPolicy::default() }
}

async fn error_of(answer: Response) -> ModelError {
    let provider = Provider::start([answer]).await;
    let error = provider.ask().await.0.unwrap_err();
    assert!(!error.to_string().contains(KEY), "{error}");
    error
}

#[tokio::test]
async fn a_busy_server_says_when_to_come_back() {
    let busy = Response::builder().status(429).header("retry-after", "7");
    let body = json!({ "error": { "message": "slow down", "code": "rate_limit_exceeded" } });

    let error = error_of(busy.body(body.to_string().into()).unwrap()).await;

    assert_eq!((error.kind, error.status), (ModelErrorKind::RateLimited, Some(429)));
    assert_eq!(
        (error.message.as_str(), error.retry_after),
        ("slow down", Some(Duration::from_secs(7)))
    );
}

#[tokio::test]
async fn a_refused_key_is_named_without_being_shown() {
    let body =
        json!({ "error": { "message": format!("bad key {KEY}!"), "code": "invalid_api_key" } });
    let error = error_of(status(401, body.to_string())).await;
    assert_eq!((error.kind, error.message.as_str()), (ModelErrorKind::Auth, "bad key [key]!"));

    let model = openai("http://user:hunter2@localhost/v1");
    let shown = format!("{model:?}");
    assert!(!shown.contains(KEY) && !shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn each_status_is_sorted_by_what_can_be_done_about_it() {
    let too_long = json!({ "error": { "message": "m", "code": "context_length_exceeded" } });
    let error = error_of(status(400, too_long.to_string())).await;
    assert_eq!(error.kind, ModelErrorKind::ContextLength);

    let error = error_of(status(502, "<html>Bad Gateway</html>")).await;
    assert!(error.is_transient(), "{error:?}");

    let error = error_of(status(404, "")).await;
    assert_eq!((error.kind, error.message.as_str()), (ModelErrorKind::Invalid, "no reason given"));

    let error = error_of(status(400, "x".repeat(1_000_000))).await;
    assert!(error.to_string().contains("xxx") && error.to_string().len() < 1000);
}

#[tokio::test]
async fn a_reply_that_breaks_off_is_cut_however_it_breaks() {
    let half = || vec![says("Hel")];
    for answer in [pieces(half()), broken(half()), pieces(vec![]), pieces(vec![done()])] {
        let error = error_of(answer).await;
        assert_eq!(error.kind, ModelErrorKind::Cut, "{error:?}");
    }
}

#[tokio::test]
async fn a_reply_that_was_complete_survives_what_breaks_behind_it() {
    let complete = || vec![says("Hello"), stops("stop")];
    for answer in [pieces(complete()), broken(complete())] {
        let provider = Provider::start([answer]).await;
        assert_eq!(provider.ask().await.0.unwrap().content, "Hello");
    }
    let provider = Provider::start([pieces(vec![says("Hello"), done()])]).await;
    assert_eq!(provider.ask().await.0.unwrap().content, "Hello", "no finish_reason, but [DONE]");
}

#[tokio::test]
async fn nonsense_is_not_asked_for_again() {
    let nonsense = b"data: {\"choices\": [{\"del\n\n".to_vec();
    let not_text = b"data: \xff\xfe\n\n".to_vec();
    for answer in [nonsense, not_text] {
        let error = error_of(pieces(vec![says("Hel"), answer, done()])).await;
        assert_eq!(error.kind, ModelErrorKind::Malformed, "{error:?}");
    }
    let page = Response::builder().header("content-type", "application/json");
    let error = error_of(page.body("<html>".into()).unwrap()).await;
    assert_eq!(error.kind, ModelErrorKind::Malformed, "{error:?}");
}

#[tokio::test]
async fn an_error_in_the_middle_of_the_stream_is_an_error() {
    let error = json!({ "error": { "message": "overloaded", "type": "server_error" } });
    let error = error_of(pieces(vec![says("Hel"), data(&error)])).await;
    assert_eq!(error.to_string(), "the model provider is unavailable: overloaded");
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up() {
    let provider = Provider::start([stuck(vec![says("Hel")]), stuck(vec![])]).await;
    let model = provider.model().patience(Duration::from_millis(50));
    for _ in 0..2 {
        let error = complete(&model, &hello(), |_| ()).await.unwrap_err();
        assert!(error.to_string().contains("no answer for 50ms") && error.is_transient());
    }
}

#[tokio::test]
async fn nobody_home_is_transient() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1?token=hunter2", listener.local_addr().unwrap());
    drop(listener);

    let error = complete(&openai(&base_url), &hello(), |_| ()).await.unwrap_err();

    assert_eq!(error.kind, ModelErrorKind::Connection, "{error:?}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[tokio::test]
async fn transient_failures_are_asked_again_and_what_was_streamed_is_void() {
    let provider = Provider::start([
        status(503, "starting"),
        pieces(vec![says("Hel")]),
        pieces(vec![says("Hello"), stops("stop"), done()]),
    ])
    .await;
    let mut seen = Vec::new();
    let see = |progress| match progress {
        Progress::Event(_) => seen.push("event"),
        Progress::Retrying { .. } => seen.push("retrying"),
    };

    let reply = complete_with_retries(&provider.model(), &hello(), eager(), see).await.unwrap();

    assert_eq!(reply.content, "Hello");
    assert_eq!(seen, ["retrying", "event", "retrying", "event"]);
}

#[tokio::test]
async fn three_retries_are_enough_and_a_refusal_needs_none() {
    let provider = Provider::start((0..9).map(|_| status(500, "down"))).await;
    complete_with_retries(&provider.model(), &hello(), eager(), |_| ()).await.unwrap_err();
    assert_eq!(provider.asked().len(), 4);

    let provider = Provider::start((0..9).map(|_| status(400, "no"))).await;
    complete_with_retries(&provider.model(), &hello(), eager(), |_| ()).await.unwrap_err();
    assert_eq!(provider.asked().len(), 1);
}

#[tokio::test]
async fn a_run_whose_model_fails_for_good_says_why_and_keeps_its_messages() {
    let provider = Provider::start([status(401, "who are you?")]).await;
    let model = Arc::new(provider.model());
    let agent = Agent::builder("a").model("gpt-x").provider(model).build().unwrap();

    let error = run(&agent, "hi").await.unwrap_err();

    assert_eq!(
        error.to_string(),
        "the agent `a` failed: the model provider refused the key (401): who are you?"
    );
    let RunError::Failed { failure, result, .. } = error else { panic!("{error}") };
    assert_eq!((failure.code, result.messages.len()), (FailureCode::ModelAuth, 1));
}
