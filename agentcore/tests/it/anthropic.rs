//! Anthropic's `messages`, in the shapes of "Streaming Messages" and "Extended thinking".

use agentcore::models::anthropic::Anthropic;
use agentcore::{Effort, Message, ModelErrorKind, ModelEvent, ModelRequest, ReplyFinish, Usage};
use axum::response::Response;
use serde_json::{Value, json};

use crate::provider::{
    KEY, Provider, ask, broken, events, hello, look, looked, pieces, remembered,
};

fn begins(usage: Value) -> Value {
    json!({ "type": "message_start", "message": { "id": "msg_1", "type": "message", "role": "assistant",
        "content": [], "model": "claude", "stop_reason": null, "stop_sequence": null, "usage": usage } })
}

fn block(index: usize, block: Value) -> Value {
    json!({ "type": "content_block_start", "index": index, "content_block": block })
}

fn delta(index: usize, delta: Value) -> Value {
    json!({ "type": "content_block_delta", "index": index, "delta": delta })
}

fn text(index: usize, text: &str) -> Value {
    delta(index, json!({ "type": "text_delta", "text": text }))
}

fn arguments(index: usize, json: &str) -> Value {
    delta(index, json!({ "type": "input_json_delta", "partial_json": json }))
}

fn stops(reason: &str) -> Vec<Value> {
    let usage = json!({ "output_tokens": 15 });
    let delta = json!({ "stop_reason": reason, "stop_sequence": null });
    vec![
        json!({ "type": "message_delta", "delta": delta, "usage": usage }),
        json!({ "type": "message_stop" }),
    ]
}

fn hello_there(reason: &str) -> Vec<Value> {
    let begin = vec![
        begins(json!({ "input_tokens": 9, "output_tokens": 1 })),
        block(0, json!({ "type": "text", "text": "" })),
        json!({ "type": "ping" }),
        text(0, "Hel"),
        text(0, "lo"),
        json!({ "type": "content_block_stop", "index": 0 }),
    ];
    [begin, stops(reason)].concat()
}

#[tokio::test]
async fn a_reply_streams_in_with_what_was_cached() {
    let mut stream = hello_there("end_turn");
    stream[0] = begins(json!({ "input_tokens": 3, "cache_creation_input_tokens": 20,
        "cache_read_input_tokens": 100, "output_tokens": 1 }));
    let provider = Provider::start([pieces(events(&stream))]).await;

    let (reply, seen) = ask(&provider.anthropic(), &hello()).await;

    let reply = reply.unwrap();
    assert_eq!((reply.content.as_str(), reply.finish), ("Hello", ReplyFinish::Stop));
    let usage = Usage {
        input_tokens: 3,
        cache_read_tokens: 100,
        cache_write_tokens: 20,
        output_tokens: 15,
        ..Usage::default()
    };
    assert_eq!((reply.usage, reply.replay), (usage, None));
    assert_eq!(seen, ["Hel", "lo"].map(|text| ModelEvent::TextDelta(text.into())));
    let asked = &provider.asked()[0];
    assert_eq!(asked.path, "/v1/messages");
    assert_eq!(asked.headers["x-api-key"], KEY);
    assert_eq!(asked.headers["anthropic-version"], "2023-06-01");
    assert_eq!(
        asked.body,
        json!({ "model": "gpt-x", "max_tokens": 8192, "stream": true,
            "messages": [{ "role": "user", "content": [{ "type": "text", "text": "hello" }] }] })
    );
}

/// Thinks, speaks, thinks unseen, and calls two tools at once, their arguments interleaved.
fn a_thoughtful_turn() -> Vec<Value> {
    let begin = vec![
        begins(json!({ "input_tokens": 9, "output_tokens": 1 })),
        block(0, json!({ "type": "thinking", "thinking": "", "signature": "" })),
        delta(0, json!({ "type": "thinking_delta", "thinking": "Let me " })),
        delta(0, json!({ "type": "thinking_delta", "thinking": "see." })),
        delta(0, json!({ "type": "signature_delta", "signature": "c2ln" })),
        block(1, json!({ "type": "text", "text": "" })),
        text(1, "I look."),
        block(2, json!({ "type": "redacted_thinking", "data": "ZW5j" })),
        block(3, json!({ "type": "tool_use", "id": "toolu_1", "name": "look", "input": {} })),
        block(4, json!({ "type": "tool_use", "id": "toolu_2", "name": "look", "input": {} })),
        arguments(3, ""),
        arguments(3, "{\"for\": \"c"),
        arguments(4, "{\"for\": \"dog\"}"),
        arguments(3, "at\"}"),
    ];
    [begin, stops("tool_use")].concat()
}

#[tokio::test]
async fn thinking_and_tools_go_out_the_way_they_came_in() {
    let answers = [a_thoughtful_turn(), hello_there("end_turn")];
    let provider = Provider::start(answers.map(|answer| pieces(events(&answer)))).await;
    let mut request = ModelRequest {
        model: "claude-sonnet-4-5".into(),
        tools: vec![look()].into(),
        reasoning: Some(Effort::Low),
        ..hello()
    };

    let (reply, seen) = ask(&provider.anthropic(), &request).await;
    let reply = reply.unwrap();
    assert_eq!(
        (reply.content.as_str(), reply.reasoning.as_deref()),
        ("I look.", Some("Let me see."))
    );
    let called: Vec<_> =
        reply.tool_calls.iter().map(|call| (call.id.as_str(), call.arguments.as_str())).collect();
    assert_eq!(called, [("toolu_1", r#"{"for": "cat"}"#), ("toolu_2", r#"{"for": "dog"}"#)]);
    assert_eq!((reply.finish, seen.len()), (ReplyFinish::ToolCalls, 8));
    let answers = [looked("toolu_1", "a cat"), looked("toolu_2", "a dog")];
    request.messages.extend([remembered(reply)].into_iter().chain(answers));
    ask(&provider.anthropic(), &request).await.0.unwrap();

    let asked = &provider.asked()[1].body;
    let used = |id: &str, what: &str| json!({ "type": "tool_use", "id": id, "name": "look", "input": { "for": what } });
    let result = |id: &str, content: &str| json!({ "type": "tool_result", "tool_use_id": id, "content": content });
    assert_eq!(
        asked["messages"],
        json!([
            { "role": "user", "content": [{ "type": "text", "text": "hello" }] },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "Let me see.", "signature": "c2ln" },
                { "type": "text", "text": "I look." },
                { "type": "redacted_thinking", "data": "ZW5j" },
                used("toolu_1", "cat"),
                used("toolu_2", "dog"),
            ] },
            { "role": "user", "content": [result("toolu_1", "a cat"), result("toolu_2", "a dog")] },
        ])
    );
    assert_eq!(asked["thinking"], json!({ "type": "enabled", "budget_tokens": 2048 }));
}

#[tokio::test]
async fn each_reason_to_stop_is_understood() {
    let table = [
        ("end_turn", ReplyFinish::Stop),
        ("stop_sequence", ReplyFinish::Stop),
        ("max_tokens", ReplyFinish::Length),
        ("model_context_window_exceeded", ReplyFinish::Length),
        ("refusal", ReplyFinish::ContentFilter),
        ("pause_turn", ReplyFinish::Pause),
        ("something_new", ReplyFinish::Stop),
    ];
    for (reason, finish) in table {
        let provider = Provider::start([pieces(events(&hello_there(reason)))]).await;
        let reply = ask(&provider.anthropic(), &hello()).await.0.unwrap();
        assert_eq!(reply.finish, finish, "{reason}");
    }
}

#[tokio::test]
async fn a_reply_in_one_piece_is_understood() {
    let body = json!({ "type": "message", "role": "assistant", "stop_reason": "tool_use",
        "content": [{ "type": "text", "text": "I look." },
            { "type": "tool_use", "id": "t1", "name": "look", "input": { "for": "cat" } }],
        "usage": { "input_tokens": 3, "output_tokens": 4 } });
    let answer = Response::builder().header("content-type", "application/json");
    let provider = Provider::start([answer.body(body.to_string().into()).unwrap()]).await;

    let reply = ask(&provider.anthropic(), &hello()).await.0.unwrap();

    assert_eq!((reply.content.as_str(), reply.usage.total()), ("I look.", 7));
    assert_eq!(reply.tool_calls[0].arguments, r#"{"for":"cat"}"#);
}

#[tokio::test]
async fn what_breaks_in_the_middle_is_told_apart() {
    let half = || a_thoughtful_turn()[..12].to_vec();
    let with = |more: Value| pieces(events(&[half(), vec![more]].concat()));
    let overloaded =
        json!({ "type": "error", "error": { "type": "overloaded_error", "message": "m" } });
    let misfit = arguments(1, "{}");
    let table = [
        (pieces(events(&half())), ModelErrorKind::Cut),
        (broken(events(&half())), ModelErrorKind::Cut),
        (with(overloaded), ModelErrorKind::Overloaded),
        (with(misfit), ModelErrorKind::Malformed),
        (with(json!({ "type": "message_start" })), ModelErrorKind::Malformed),
    ];
    for (answer, expected) in table {
        let provider = Provider::start([answer]).await;
        let error = ask(&provider.anthropic(), &hello()).await.0.unwrap_err();
        assert_eq!(error.kind, expected, "{error}");
    }
}

#[tokio::test]
async fn a_complete_reply_survives_what_breaks_behind_it() {
    let mut stream = hello_there("end_turn");
    stream.pop();
    let provider = Provider::start([broken(events(&stream))]).await;
    assert_eq!(ask(&provider.anthropic(), &hello()).await.0.unwrap().content, "Hello");
}

#[tokio::test]
async fn a_key_that_no_header_can_carry_is_an_error_and_not_shown() {
    let http = agentcore::models::http_client().unwrap();
    let model =
        Anthropic::new(http, "http://localhost:1/v1".parse().unwrap(), Some("line\nbreak".into()));
    let error = ask(&model, &hello()).await.0.unwrap_err();
    assert_eq!(error.kind, ModelErrorKind::Auth);
    assert!(!error.to_string().contains("break"), "{error}");
    assert!(!format!("{model:?}").contains("break"));
}

#[tokio::test]
async fn instructions_come_before_the_conversation() {
    let provider = Provider::start([pieces(events(&hello_there("end_turn")))]).await;
    let messages =
        vec![Message::system("Be kind."), Message::user("hi"), Message::system("Be brief.")];
    ask(&provider.anthropic(), &ModelRequest { messages, ..hello() }).await.0.unwrap();
    let text = |text: &str| json!({ "type": "text", "text": text });
    assert_eq!(provider.asked()[0].body["system"], json!([text("Be kind."), text("Be brief.")]));
}
