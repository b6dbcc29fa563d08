use std::sync::Arc;
use std::time::Duration;

use shared_models::effect::Effect;

use super::*;
use crate::model::{Effort, ToolSet};

fn body(request: &ModelRequest, manners: Manners) -> Value {
    serde_json::to_value(Body::of(request, manners).unwrap()).unwrap()
}

#[test]
fn a_conversation_is_spelled_the_way_the_wire_wants_it() {
    let look = ToolCall { id: "c1".into(), name: "look".into(), arguments: String::new() };
    let request = ModelRequest {
        model: "m".into(),
        messages: vec![
            Message::system("be kind"),
            Message::User {
                content: Content::Blocks(vec![
                    Block::Text { text: "what is it?".into() },
                    Block::Image { url: "data:image/png;base64,AA==".into() },
                    Block::Document { url: "data:application/pdf;base64,AA==".into(), name: None },
                ]),
            },
            Message::Assistant {
                content: String::new(),
                tool_calls: vec![look],
                reasoning: Some("hm".into()),
                replay: None,
            },
            Message::Tool {
                tool_call_id: "c1".into(),
                tool_name: "look".into(),
                content: "a cat".into(),
                error: false,
            },
        ],
        tools: vec![ToolSpec {
            name: "look".into(),
            description: "Looks.".into(),
            parameters: json!({ "type": "object" }),
            effect: Effect::Read,
            timeout: Duration::from_secs(1),
        }]
        .into(),
        temperature: Some(0.2),
        max_tokens: Some(7),
        ..ModelRequest::default()
    };

    let body = body(&request, Manners::default());

    assert_eq!(
        body,
        json!({
            "model": "m",
            "messages": [
                { "role": "system", "content": "be kind" },
                { "role": "user", "content": [
                    { "type": "text", "text": "what is it?" },
                    { "type": "image_url", "image_url": { "url": "data:image/png;base64,AA==" } },
                    { "type": "file", "file": { "filename": "document",
                        "file_data": "data:application/pdf;base64,AA==" } },
                ] },
                { "role": "assistant", "content": null, "tool_calls": [{ "id": "c1",
                    "type": "function", "function": { "name": "look", "arguments": "{}" } }] },
                { "role": "tool", "tool_call_id": "c1", "content": "a cat" },
            ],
            "stream": true,
            "stream_options": { "include_usage": true },
            "tools": [{ "type": "function", "function": { "name": "look",
                "description": "Looks.", "parameters": { "type": "object" } } }],
            "temperature": 0.2_f32,
            "max_tokens": 7,
        })
    );
}

#[test]
fn openai_itself_is_told_the_limit_by_its_new_name() {
    let request = ModelRequest { max_tokens: Some(7), ..ModelRequest::default() };
    let body = body(&request, Manners { is_openai: true, ..Manners::default() });
    assert_eq!((&body["max_completion_tokens"], &body["max_tokens"]), (&json!(7), &Value::Null));
}

#[test]
fn a_form_a_choice_and_an_effort_are_asked_for() {
    let look = ToolSpec {
        name: "look".into(),
        description: "Looks.".into(),
        parameters: json!({ "type": "object" }),
        effect: Effect::Read,
        timeout: Duration::from_secs(1),
    };
    let form = OutputForm { name: "cat".into(), schema: json!({ "type": "object" }), strict: true };
    let mut request = ModelRequest {
        tools: vec![look].into(),
        tool_choice: ToolChoice::Tool("look".into()),
        output: Some(Arc::new(form)),
        reasoning: Some(Effort::Low),
        ..ModelRequest::default()
    };

    let asked = body(&request, Manners::default());
    assert_eq!(asked["tool_choice"], json!({ "type": "function", "function": { "name": "look" } }));
    assert_eq!(
        asked["response_format"],
        json!({ "type": "json_schema", "json_schema": { "name": "cat",
            "schema": { "type": "object" }, "strict": true } })
    );
    assert_eq!(asked["reasoning_effort"], "low");

    request.tools = ToolSet::default();
    let asked = body(&request, Manners::default());
    assert_eq!((&asked["tool_choice"], &asked["tools"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_temperature_is_written_as_short_as_it_was_meant() {
    let request = ModelRequest { temperature: Some(0.2), ..ModelRequest::default() };
    let body = serde_json::to_string(&Body::of(&request, Manners::default()).unwrap()).unwrap();
    assert!(body.contains(r#""temperature":0.2}"#), "{body}");
}

#[test]
fn reasoning_goes_back_within_one_answer_where_it_is_wanted() {
    let thought = |content: &str| Message::Assistant {
        content: content.into(),
        tool_calls: Vec::new(),
        reasoning: Some(format!("why {content}")),
        replay: None,
    };
    let messages = vec![Message::user("1"), thought("a"), Message::user("2"), thought("b")];
    let request = ModelRequest { messages, ..ModelRequest::default() };

    let told = body(&request, Manners { replay_reasoning: true, ..Manners::default() });

    assert_eq!(told["messages"][1], json!({ "role": "assistant", "content": "a" }));
    assert_eq!(told["messages"][3]["reasoning_content"], "why b");
    assert!(!body(&request, Manners::default()).to_string().contains("why"));
}
