//! Gemini's `streamGenerateContent`, in the shapes of "Generating content" and "Thought signatures".

use agentcore::{Effort, ModelErrorKind, ModelEvent, ModelRequest, ReplyFinish, Usage};
use axum::response::Response;
use serde_json::{Value, json};

use crate::provider::{
    KEY, Provider, ask, broken, events, hello, look, looked, pieces, remembered,
};

fn parts(parts: Value) -> Value {
    json!({ "candidates": [{ "content": { "role": "model", "parts": parts }, "index": 0 }],
        "usageMetadata": { "promptTokenCount": 9, "totalTokenCount": 9 }, "modelVersion": "gemini" })
}

fn stops(reason: &str) -> Value {
    json!({ "candidates": [{ "content": { "role": "model", "parts": [{ "text": "" }] },
        "finishReason": reason, "index": 0 }],
        "usageMetadata": { "promptTokenCount": 120, "cachedContentTokenCount": 100,
            "candidatesTokenCount": 15, "thoughtsTokenCount": 30, "totalTokenCount": 165 } })
}

#[tokio::test]
async fn a_reply_streams_in_with_what_was_cached_and_thought() {
    let stream = [
        parts(json!([{ "text": "hm", "thought": true }])),
        parts(json!([{ "text": "Hel" }])),
        parts(json!([{ "text": "lo" }])),
        stops("STOP"),
    ];
    let provider = Provider::start([pieces(events(&stream))]).await;
    let request = ModelRequest { model: "gemini-2.5-flash".into(), ..hello() };

    let (reply, seen) = ask(&provider.gemini(), &request).await;

    let reply = reply.unwrap();
    assert_eq!((reply.content.as_str(), reply.reasoning.as_deref()), ("Hello", Some("hm")));
    let usage = Usage {
        input_tokens: 20,
        cache_read_tokens: 100,
        cache_write_tokens: 0,
        output_tokens: 15,
        reasoning_tokens: 30,
    };
    assert_eq!((reply.usage, reply.finish), (usage, ReplyFinish::Stop));
    assert_eq!(seen[0], ModelEvent::ReasoningDelta("hm".into()));
    let asked = &provider.asked()[0];
    assert_eq!(asked.path, "/v1/models/gemini-2.5-flash:streamGenerateContent?alt=sse");
    assert_eq!(asked.headers["x-goog-api-key"], KEY);
    let contents = json!({ "contents": [{ "role": "user", "parts": [{ "text": "hello" }] }] });
    assert_eq!(asked.body, contents);
}

#[tokio::test]
async fn signatures_and_tools_go_out_the_way_they_came_in() {
    let call = |what: &str, id: Value| {
        let mut call = json!({ "name": "look", "args": { "for": what } });
        if id != Value::Null {
            call["id"] = id;
        }
        call
    };
    let turn = [
        parts(json!([{ "text": "Let me see.", "thought": true }, { "text": "I look." }])),
        parts(json!([{ "functionCall": call("cat", json!("g1")), "thoughtSignature": "c2ln" },
            { "functionCall": call("dog", Value::Null) }])),
        parts(json!([{ "text": "", "thoughtSignature": "ZW5k" }])),
        stops("STOP"),
    ];
    let end = [parts(json!([{ "text": "ok" }])), stops("STOP")];
    let provider = Provider::start([pieces(events(&turn)), pieces(events(&end))]).await;
    let mut request = ModelRequest {
        model: "gemini-3-pro-preview".into(),
        tools: vec![look()].into(),
        reasoning: Some(Effort::High),
        ..hello()
    };

    let (reply, seen) = ask(&provider.gemini(), &request).await;
    let mut reply = reply.unwrap();
    assert_eq!((reply.content.as_str(), reply.finish), ("I look.", ReplyFinish::ToolCalls));
    let called: Vec<_> =
        reply.tool_calls.iter().map(|call| (call.id.as_str(), call.arguments.as_str())).collect();
    assert_eq!(called, [("g1", r#"{"for":"cat"}"#), ("", r#"{"for":"dog"}"#)]);
    assert_eq!(seen.len(), 4);
    // As the loop does with calls that have no id.
    reply.tool_calls[1].id = "call_1_1".into();
    let answers = [looked("g1", "a cat"), looked("call_1_1", "a dog")];
    request.messages.extend([remembered(reply)].into_iter().chain(answers));
    ask(&provider.gemini(), &request).await.0.unwrap();

    let asked = &provider.asked()[1].body;
    let answer = |content: &str| json!({ "name": "look", "response": { "output": content } });
    let mut first = answer("a cat");
    first["id"] = json!("g1");
    assert_eq!(
        asked["contents"],
        json!([
            { "role": "user", "parts": [{ "text": "hello" }] },
            { "role": "model", "parts": [
                { "text": "I look.", "thoughtSignature": "ZW5k" },
                { "functionCall": call("cat", json!("g1")), "thoughtSignature": "c2ln" },
                { "functionCall": call("dog", Value::Null) },
            ] },
            { "role": "user", "parts": [
                { "functionResponse": first },
                { "functionResponse": answer("a dog") },
            ] },
        ])
    );
    let thinking = json!({ "thinkingLevel": "high", "includeThoughts": true });
    assert_eq!(asked["generationConfig"]["thinkingConfig"], thinking);
}

#[tokio::test]
async fn a_tool_that_had_to_be_renamed_comes_back_under_its_own_name() {
    let call = json!({ "name": "_2nd", "args": {} });
    let stream = [parts(json!([{ "functionCall": call }])), stops("STOP")];
    let provider = Provider::start([pieces(events(&stream))]).await;
    let spec = agentcore::ToolSpec { name: "2nd".into(), ..look() };

    let request = ModelRequest { tools: vec![spec].into(), ..hello() };
    let reply = ask(&provider.gemini(), &request).await.0.unwrap();

    assert_eq!(reply.tool_calls[0].name, "2nd");
    let declared = &provider.asked()[0].body["tools"][0]["functionDeclarations"][0]["name"];
    assert_eq!(declared, "_2nd");
}

#[tokio::test]
async fn each_reason_to_stop_is_understood() {
    let table = [
        ("STOP", ReplyFinish::Stop),
        ("MAX_TOKENS", ReplyFinish::Length),
        ("SAFETY", ReplyFinish::ContentFilter),
        ("RECITATION", ReplyFinish::ContentFilter),
        ("PROHIBITED_CONTENT", ReplyFinish::ContentFilter),
        ("OTHER", ReplyFinish::Stop),
    ];
    for (reason, finish) in table {
        let provider = Provider::start([pieces(events(&[stops(reason)]))]).await;
        let reply = ask(&provider.gemini(), &hello()).await.0.unwrap();
        assert_eq!(reply.finish, finish, "{reason}");
    }
}

#[tokio::test]
async fn what_breaks_is_told_apart() {
    let half = || parts(json!([{ "text": "Hel" }]));
    let blocked = json!({ "promptFeedback": { "blockReason": "SAFETY" }, "usageMetadata": {} });
    let unavailable = json!({ "error": { "code": 503, "message": "m", "status": "UNAVAILABLE" } });
    let table = [
        (pieces(events(&[half()])), ModelErrorKind::Cut),
        (broken(events(&[half()])), ModelErrorKind::Cut),
        (pieces(events(&[half(), stops("MALFORMED_FUNCTION_CALL")])), ModelErrorKind::Cut),
        (pieces(events(&[blocked])), ModelErrorKind::Refused),
        (pieces(events(&[half(), unavailable])), ModelErrorKind::Overloaded),
        (pieces(events(&[json!({ "candidates": 7 })])), ModelErrorKind::Malformed),
    ];
    for (answer, expected) in table {
        let provider = Provider::start([answer]).await;
        let error = ask(&provider.gemini(), &hello()).await.0.unwrap_err();
        assert_eq!(error.kind, expected, "{error}");
    }
}

#[tokio::test]
async fn a_list_of_chunks_is_a_reply_too() {
    let body =
        json!([parts(json!([{ "text": "Hel" }])), parts(json!([{ "text": "lo" }])), stops("STOP")]);
    let answer = Response::builder().header("content-type", "application/json; charset=UTF-8");
    let provider = Provider::start([answer.body(body.to_string().into()).unwrap()]).await;
    assert_eq!(ask(&provider.gemini(), &hello()).await.0.unwrap().content, "Hello");
}
