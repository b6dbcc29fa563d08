//! `chat/completions` as it should be.

use agentcore::{Agent, FnTool, ModelEvent, ReplyFinish, ToolError, Usage, complete, run};
use axum::response::Response;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::provider::{KEY, Provider, data, done, hello, pieces, says, stops};

#[tokio::test]
async fn a_reply_streams_in_with_its_usage() {
    let usage = json!({ "choices": [], "usage": { "prompt_tokens": 9, "completion_tokens": 2,
        "prompt_tokens_details": { "cached_tokens": 8 } } });
    let answer = pieces(vec![says("Hel"), says("lo"), stops("stop"), data(&usage), done()]);
    let provider = Provider::start([answer]).await;

    let (reply, events) = provider.ask().await;

    let reply = reply.unwrap();
    assert_eq!((reply.content.as_str(), reply.finish), ("Hello", ReplyFinish::Stop));
    let usage =
        Usage { input_tokens: 1, cache_read_tokens: 8, output_tokens: 2, ..Usage::default() };
    assert_eq!(reply.usage, usage);
    assert_eq!(events, ["Hel", "lo"].map(|text| ModelEvent::TextDelta(text.into())));
}

#[tokio::test]
async fn the_request_carries_key_model_and_stream_options() {
    let provider = Provider::start([pieces(vec![says("ok"), stops("stop"), done()])]).await;

    provider.ask().await.0.unwrap();

    let asked = &provider.asked()[0];
    assert_eq!(asked.path, "/v1/chat/completions");
    assert_eq!(asked.headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(
        asked.body,
        json!({ "model": "gpt-x", "messages": [{ "role": "user", "content": "hello" }],
            "stream": true, "stream_options": { "include_usage": true } })
    );
}

#[tokio::test]
async fn a_stream_may_be_cut_into_pieces_anywhere() {
    let mut whole = b"\xef\xbb\xbf: comment\r\n\r\nevent: message\r\n".to_vec();
    for part in [says("Gr\u{fc}\u{df}e \u{1f600}"), stops("stop"), done()] {
        whole.extend(part);
    }
    for size in [1, 2, 3, 7, 64] {
        let answer = pieces(whole.chunks(size).map(<[u8]>::to_vec).collect());
        let provider = Provider::start([answer]).await;

        let (reply, _) = provider.ask().await;

        assert_eq!(reply.unwrap().content, "Gr\u{fc}\u{df}e \u{1f600}", "in pieces of {size}");
    }
}

#[tokio::test]
async fn a_connection_is_used_again_after_the_last_word() {
    let answer = || pieces(vec![says("ok"), stops("stop"), done()]);
    let provider = Provider::start((0..5).map(|_| answer())).await;
    let model = provider.model();
    let mut ends = Vec::new();
    for _ in 0..5 {
        complete(&model, &hello(), |_| ()).await.unwrap();
        // The end of the answer is read on the side.
        tokio::task::yield_now().await;
        ends.push(provider.asked().last().unwrap().from);
    }
    ends.dedup();
    assert!(ends.len() < 3, "{ends:?}");
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_understood() {
    let body = json!({ "choices": [{ "message": { "role": "assistant", "content": "whole" },
        "finish_reason": "stop" }], "usage": { "prompt_tokens": 3, "completion_tokens": 1 } });
    let answer = Response::builder().header("content-type", "application/json; charset=utf-8");
    let provider = Provider::start([answer.body(body.to_string().into()).unwrap()]).await;

    let (reply, events) = provider.ask().await;

    let reply = reply.unwrap();
    assert_eq!((reply.content.as_str(), reply.usage.total()), ("whole", 4));
    assert_eq!(events, [ModelEvent::TextDelta("whole".into())]);
}

#[tokio::test]
async fn an_agent_calls_a_tool_over_the_wire_and_reports_its_answer() {
    let calls = json!({ "choices": [{ "index": 0, "delta": { "tool_calls": [{ "index": 0,
        "id": "c1", "function": { "name": "add", "arguments": "{\"a\":20,\"b\":22}" } }] } }] });
    let provider = Provider::start([
        pieces(vec![data(&calls), stops("tool_calls"), done()]),
        pieces(vec![says("It is 42."), stops("stop"), done()]),
    ])
    .await;
    let add = FnTool::new("add", "Adds.", json!({ "type": "object" }), async |numbers: Value| {
        let number = |name: &str| numbers[name].as_i64().unwrap();
        Ok::<_, ToolError>((number("a") + number("b")).to_string())
    });
    let agent = Agent::builder("calculator")
        .model("gpt-x")
        .provider(Arc::new(provider.model()))
        .instructions("Use the tool.")
        .tool(add)
        .build()
        .unwrap();

    let result = run(&agent, "20 + 22?").await.unwrap();

    assert_eq!((result.output.as_str(), result.steps), ("It is 42.", 2));
    let asked = provider.asked();
    assert_eq!(
        asked[0].body["messages"][0],
        json!({ "role": "system", "content": "Use the tool." })
    );
    assert_eq!(asked[0].body["tools"][0]["function"]["name"], "add");
    assert_eq!(asked[0].body["temperature"], 1.0);
    let answer = json!({ "role": "tool", "tool_call_id": "c1", "content": "42" });
    assert_eq!(asked[1].body["messages"][3], answer);
}
