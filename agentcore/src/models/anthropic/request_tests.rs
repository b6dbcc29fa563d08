use std::sync::Arc;

use shared_models::effect::Effect;
use shared_models::message::{Block, Replay, ToolCall};

use super::*;
use crate::model::OutputForm;
use crate::tool::ToolSpec;

fn body(request: &ModelRequest) -> Value {
    serde_json::to_value(Body::of(request, Manners::default()).unwrap()).unwrap()
}

fn look() -> ToolSpec {
    ToolSpec {
        name: "look".into(),
        description: "Looks.".into(),
        parameters: json!({ "type": "object" }),
        effect: Effect::Read,
        timeout: ToolSpec::DEFAULT_TIMEOUT,
    }
}

fn call(id: &str, arguments: &str) -> ToolCall {
    ToolCall { id: id.into(), name: "look".into(), arguments: arguments.into() }
}

fn answer(id: &str, content: &str, error: bool) -> Message {
    let (tool_call_id, content) = (id.into(), content.into());
    Message::Tool { tool_call_id, tool_name: "look".into(), content, error }
}

#[test]
fn a_conversation_is_spelled_the_way_the_wire_wants_it() {
    let blocks = vec![
        Block::Text { text: "what is it?".into() },
        Block::Text { text: " ".into() },
        Block::Image { url: "data:image/png;base64,AA==".into() },
        Block::Image { url: "https://x.example/a.png".into() },
        Block::Document { url: "data:text/plain,a%20b".into(), name: Some("a.txt".into()) },
    ];
    let request = ModelRequest {
        model: "claude-sonnet-4-5".into(),
        messages: vec![
            Message::system("be kind"),
            Message::User { content: Content::Blocks(blocks) },
            Message::Assistant {
                content: "I look.".into(),
                tool_calls: vec![call("c.1", ""), call("c2", "{oops")],
                reasoning: Some("never sent unsigned".into()),
                replay: None,
            },
            answer("c.1", "a cat", false),
            answer("c2", "no JSON", true),
            Message::user("and now?"),
        ],
        tools: vec![look()].into(),
        temperature: Some(0.5),
        ..ModelRequest::default()
    };

    assert_eq!(
        body(&request),
        json!({
            "model": "claude-sonnet-4-5",
            "max_tokens": 8192,
            "system": [{ "type": "text", "text": "be kind" }],
            "messages": [
                { "role": "user", "content": [
                    { "type": "text", "text": "what is it?" },
                    { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "AA==" } },
                    { "type": "image", "source": { "type": "url", "url": "https://x.example/a.png" } },
                    { "type": "document", "title": "a.txt",
                        "source": { "type": "text", "media_type": "text/plain", "data": "a b" } },
                ] },
                { "role": "assistant", "content": [
                    { "type": "text", "text": "I look." },
                    { "type": "tool_use", "id": "c_1", "name": "look", "input": {} },
                    { "type": "tool_use", "id": "c2", "name": "look", "input": { "unreadable": "{oops" } },
                ] },
                { "role": "user", "content": [
                    { "type": "tool_result", "tool_use_id": "c_1", "content": "a cat" },
                    { "type": "tool_result", "tool_use_id": "c2", "content": "no JSON", "is_error": true },
                    { "type": "text", "text": "and now?" },
                ] },
            ],
            "stream": true,
            "tools": [{ "name": "look", "description": "Looks.", "input_schema": { "type": "object" } }],
            "temperature": 0.5,
        })
    );
}

#[test]
fn each_model_is_asked_to_think_in_its_own_way() {
    let asked = |model: &str, choice: ToolChoice, max_tokens: Option<u32>| {
        let request = ModelRequest {
            model: model.into(),
            tools: vec![look()].into(),
            tool_choice: choice,
            reasoning: Some(Effort::Medium),
            temperature: Some(0.5),
            max_tokens,
            ..ModelRequest::default()
        };
        let body = body(&request);
        let part = |name: &str| body.get(name).cloned().unwrap_or_default();
        [part("thinking"), part("output_config"), part("max_tokens"), part("temperature")]
    };
    let (budget, none) = (json!({ "type": "enabled", "budget_tokens": 8192 }), Value::Null);
    let adaptive = json!({ "type": "adaptive", "display": "summarized" });

    let old = asked("claude-sonnet-4-5", ToolChoice::Auto, None);
    assert_eq!(old, [budget, none.clone(), json!(16_384), none.clone()]);
    let new = asked("claude-opus-4-7", ToolChoice::Auto, Some(9));
    assert_eq!(new, [adaptive, json!({ "effort": "medium" }), json!(9), none.clone()]);
    let forced = asked("claude-sonnet-4-5", ToolChoice::Required, None);
    assert_eq!(forced, [none.clone(), none.clone(), json!(8192), json!(0.5)]);
    let too_small = asked("claude-sonnet-4-5", ToolChoice::Auto, Some(2000));
    assert_eq!(too_small, [none.clone(), none.clone(), json!(2000), json!(0.5)]);
    let ancient = asked("claude-3-haiku-20240307", ToolChoice::Auto, None);
    assert_eq!(ancient, [none.clone(), none, json!(4096), json!(0.5)]);
}

#[test]
fn thinking_goes_back_signed_and_in_its_place() {
    let thinking = |text: &str| json!({ "type": "thinking", "thinking": text, "signature": "s" });
    let data = json!([{ "thinking": thinking("a") }, { "text": 6 }, { "thinking": thinking("b") }, "call"]);
    let said = |content: &str, provider: &str| {
        let replay = Some(Replay { provider: provider.into(), data: data.clone() });
        let tool_calls = vec![call("c1", "{}")];
        let message =
            Message::Assistant { content: content.into(), tool_calls, reasoning: None, replay };
        let messages = vec![Message::user("hi"), message, answer("c1", "x", false)];
        let model = "claude-sonnet-4-5".to_owned();
        let reasoning = Some(Effort::Low);
        body(&ModelRequest { model, messages, reasoning, ..ModelRequest::default() })
    };
    let text = |text: &str| json!({ "type": "text", "text": text });
    let used = json!({ "type": "tool_use", "id": "c1", "name": "look", "input": {} });

    let ours = said("I look", "anthropic");
    let expected = json!([thinking("a"), text("I look"), thinking("b"), used]);
    assert_eq!(ours["messages"][1]["content"], expected);
    assert_eq!(ours["thinking"]["type"], "enabled");

    let changed = said("I looked", "anthropic");
    let expected = json!([thinking("a"), thinking("b"), text("I looked"), used]);
    assert_eq!(changed["messages"][1]["content"], expected);

    let anothers = said("I look", "gemini");
    assert_eq!(anothers["messages"][1]["content"], json!([text("I look"), used]));
    assert_eq!(
        anothers["thinking"],
        Value::Null,
        "what began without thinking cannot go on with it"
    );
}

#[test]
fn a_form_is_enforced_where_it_can_be_and_asked_for_in_words_elsewhere() {
    let asked = |model: &str, schema: Value| {
        let form = OutputForm { name: "cat".into(), schema, strict: false };
        let (model, output) = (model.into(), Some(Arc::new(form)));
        body(&ModelRequest { model, output, ..ModelRequest::default() })
    };
    let closed = json!({ "type": "object", "properties": {}, "additionalProperties": false });

    let enforced = asked("claude-opus-4-5", closed.clone());
    assert_eq!(
        enforced["output_config"]["format"],
        json!({ "type": "json_schema", "schema": closed })
    );
    assert_eq!(enforced["system"], Value::Null);
    for in_words in
        [asked("claude-opus-4-1", closed), asked("claude-opus-4-5", json!({ "type": "object" }))]
    {
        assert_eq!(in_words["output_config"], Value::Null);
        assert!(in_words["system"][0]["text"].as_str().unwrap().contains("\"type\":\"object\""));
    }
}

#[test]
fn a_prompt_is_kept_when_asked_to() {
    let messages = vec![Message::system("be kind"), Message::user("hi")];
    let request = ModelRequest { messages, ..ModelRequest::default() };
    let body = serde_json::to_value(Body::of(&request, Manners { cache: true }).unwrap()).unwrap();
    let mark = json!({ "type": "ephemeral" });
    assert_eq!(body["system"][0]["cache_control"], mark);
    assert_eq!(body["messages"][0]["content"][0]["cache_control"], mark);
}
