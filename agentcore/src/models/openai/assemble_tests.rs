use serde_json::json;

use super::*;
use crate::model::ModelErrorKind;

fn assembled(chunks: &[Value]) -> Result<(Vec<ModelEvent>, Reply), ModelError> {
    let mut assembler = Assembler::default();
    let mut events = VecDeque::new();
    for chunk in chunks {
        assembler.take(&chunk.to_string(), &mut events)?;
    }
    Ok((events.into(), assembler.finish()?))
}

fn delta(delta: Value) -> Value {
    json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": null }], "usage": null })
}

fn the_end(reason: &str) -> Value {
    json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] })
}

fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
    ToolCall { id: id.into(), name: name.into(), arguments: arguments.into() }
}

#[test]
fn text_reasoning_and_usage_add_up() {
    let (events, reply) = assembled(&[
        delta(json!({ "role": "assistant", "content": "" })),
        delta(json!({ "reasoning_content": "hm" })),
        delta(json!({ "content": "Hel" })),
        delta(json!({ "content": "lo" })),
        the_end("stop"),
        json!({ "choices": [], "usage": { "prompt_tokens": 10, "completion_tokens": 7,
            "prompt_tokens_details": { "cached_tokens": 4 },
            "completion_tokens_details": { "reasoning_tokens": 5 } } }),
    ])
    .unwrap();

    assert_eq!((reply.content.as_str(), reply.reasoning.as_deref()), ("Hello", Some("hm")));
    assert_eq!(events.len(), 3);
    let usage = Usage {
        input_tokens: 6,
        cache_read_tokens: 4,
        cache_write_tokens: 0,
        output_tokens: 2,
        reasoning_tokens: 5,
    };
    assert_eq!((reply.usage, reply.finish), (usage, ReplyFinish::Stop));
}

#[test]
fn calls_are_put_together_by_their_index() {
    let piece = |piece: Value| delta(json!({ "tool_calls": [piece] }));
    let (events, reply) = assembled(&[
        piece(json!({ "index": 0, "id": "a", "function": { "name": "look", "arguments": "" } })),
        piece(json!({ "index": 1, "id": "b", "function": { "name": "find", "arguments": "{" } })),
        piece(json!({ "index": 0, "function": { "arguments": "{\"x\"" } })),
        piece(json!({ "index": 1, "id": "b", "function": { "name": "find", "arguments": "}" } })),
        piece(json!({ "index": 0, "function": { "arguments": ":1}" } })),
        the_end("tool_calls"),
    ])
    .unwrap();

    assert_eq!(reply.tool_calls, [call("a", "look", "{\"x\":1}"), call("b", "find", "{}")]);
    assert_eq!(reply.finish, ReplyFinish::ToolCalls);
    assert_eq!(events.len(), 5);
}

#[test]
fn calls_without_an_index_begin_anew_with_each_new_id() {
    let piece = |piece: Value| delta(json!({ "tool_calls": [piece] }));
    let (_, reply) = assembled(&[
        piece(json!({ "id": "a", "function": { "name": "look", "arguments": "{\"x\"" } })),
        piece(json!({ "function": { "arguments": ":1}" } })),
        piece(json!({ "id": "b", "function": { "name": "find", "arguments": { "y": 2 } } })),
        the_end("stop"),
    ])
    .unwrap();

    assert_eq!(reply.tool_calls, [call("a", "look", "{\"x\":1}"), call("b", "find", "{\"y\":2}")]);
    assert_eq!(reply.finish, ReplyFinish::ToolCalls);
}

#[test]
fn a_reply_in_one_piece_is_a_reply_too() {
    let mut assembler = Assembler::default();
    let body = json!({ "choices": [{ "message": { "role": "assistant", "content": "Hello",
        "tool_calls": null }, "finish_reason": "length" }], "usage": { "prompt_tokens": 3 } });

    let mut events = VecDeque::new();
    assembler.take_whole(&body.to_string(), &mut events).unwrap();
    let reply = assembler.finish().unwrap();

    assert_eq!(events, [ModelEvent::TextDelta("Hello".into())]);
    assert_eq!((reply.finish, reply.usage.input_tokens), (ReplyFinish::Length, 3));
}

#[test]
fn a_stream_that_ends_before_the_model_did_is_cut() {
    let error = assembled(&[delta(json!({ "content": "Hel" }))]).unwrap_err();
    assert_eq!(error.kind, ModelErrorKind::Cut);
}

#[test]
fn nonsense_is_malformed_and_an_error_object_is_an_error() {
    let mut assembler = Assembler::default();
    for nonsense in ["{\"choices\":[{\"del", "[]", "hello", "{\"choices\":7}"] {
        let error = assembler.take(nonsense, &mut VecDeque::new()).unwrap_err();
        assert_eq!(error.kind, ModelErrorKind::Malformed, "{nonsense}: {error}");
    }
    let empty = assembler.take_whole("{}", &mut VecDeque::new()).unwrap_err();
    assert_eq!(empty.kind, ModelErrorKind::Malformed);
    let error = assembled(&[json!({ "error": { "message": "overloaded", "code": 503 } })]);
    assert!(error.unwrap_err().is_transient());
}
