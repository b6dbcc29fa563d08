use std::sync::Arc;

use shared_models::effect::Effect;
use shared_models::message::{Block, Content, Replay, ToolCall};

use super::*;
use crate::model::OutputForm;

fn body(request: &ModelRequest) -> Value {
    serde_json::to_value(Body::of(request).unwrap()).unwrap()
}

fn tool(name: &str, parameters: Value) -> ToolSpec {
    ToolSpec {
        name: name.into(),
        description: "Looks.".into(),
        parameters,
        effect: Effect::Read,
        timeout: ToolSpec::DEFAULT_TIMEOUT,
    }
}

fn call(id: &str, name: &str) -> ToolCall {
    ToolCall { id: id.into(), name: name.into(), arguments: r#"{"x":1}"#.into() }
}

fn answer(id: &str, name: &str, error: bool) -> Message {
    let (tool_call_id, tool_name) = (id.into(), name.into());
    Message::Tool { tool_call_id, tool_name, content: "a cat".into(), error }
}

#[test]
fn a_conversation_is_spelled_the_way_the_wire_wants_it() {
    let blocks = vec![
        Block::Text { text: "what is it?".into() },
        Block::Image { url: "data:image/png;base64,AA==".into() },
        Block::Document { url: "https://x.example/a.pdf?v=1".into(), name: None },
    ];
    let parameters = json!({ "type": "object", "additionalProperties": false,
        "properties": { "x": { "type": "integer" } } });
    let request = ModelRequest {
        model: "gemini-2.5-pro".into(),
        messages: vec![
            Message::system("be kind"),
            Message::User { content: Content::Blocks(blocks) },
            Message::Assistant {
                content: "I look.".into(),
                tool_calls: vec![call("c1", "look"), call("c2", "7up")],
                reasoning: Some("never sent".into()),
                replay: None,
            },
            answer("c1", "look", false),
            answer("c2", "7up", true),
        ],
        tools: vec![tool("look", parameters), tool("7up", json!({ "type": "object" }))].into(),
        tool_choice: ToolChoice::Tool("7up".into()),
        temperature: Some(0.5),
        max_tokens: Some(7),
        ..ModelRequest::default()
    };

    assert_eq!(
        body(&request),
        json!({
            "systemInstruction": { "parts": [{ "text": "be kind" }] },
            "contents": [
                { "role": "user", "parts": [
                    { "text": "what is it?" },
                    { "inlineData": { "mimeType": "image/png", "data": "AA==" } },
                    { "fileData": { "mimeType": "application/pdf", "fileUri": "https://x.example/a.pdf?v=1" } },
                ] },
                { "role": "model", "parts": [
                    { "text": "I look." },
                    { "functionCall": { "name": "look", "args": { "x": 1 } } },
                    { "functionCall": { "name": "_7up", "args": { "x": 1 } } },
                ] },
                { "role": "user", "parts": [
                    { "functionResponse": { "name": "look", "response": { "output": "a cat" } } },
                    { "functionResponse": { "name": "_7up", "response": { "error": "a cat" } } },
                ] },
            ],
            "tools": [{ "functionDeclarations": [
                { "name": "look", "description": "Looks.", "parameters": { "type": "object",
                    "properties": { "x": { "type": "integer" } } } },
                { "name": "_7up", "description": "Looks." },
            ] }],
            "toolConfig": { "functionCallingConfig": { "mode": "ANY", "allowedFunctionNames": ["_7up"] } },
            "generationConfig": { "temperature": 0.5, "maxOutputTokens": 7 },
        })
    );
}

#[test]
fn signatures_go_back_to_the_parts_they_came_with() {
    let said = |provider: &str| {
        let data = json!({ "text": "st", "calls": [{ "signature": "s1", "id": "g1" }, {}] });
        let message = Message::Assistant {
            content: "I look.".into(),
            tool_calls: vec![call("c1", "look"), call("c2", "look")],
            reasoning: None,
            replay: Some(Replay { provider: provider.into(), data }),
        };
        let messages = vec![message, answer("c1", "look", false)];
        let model = "gemini-3-pro-preview".to_owned();
        body(&ModelRequest { model, messages, ..ModelRequest::default() })["contents"].clone()
    };
    let called = json!({ "name": "look", "args": { "x": 1 } });

    let ours = said("gemini");
    let signed = json!({ "functionCall": { "id": "g1", "name": "look", "args": { "x": 1 } },
        "thoughtSignature": "s1" });
    let text = json!({ "text": "I look.", "thoughtSignature": "st" });
    assert_eq!(ours[0]["parts"], json!([text, signed, { "functionCall": called }]));
    assert_eq!(ours[1]["parts"][0]["functionResponse"]["id"], "g1");

    let anothers = said("anthropic");
    let excused =
        json!({ "functionCall": called, "thoughtSignature": "skip_thought_signature_validator" });
    let parts = json!([{ "text": "I look." }, excused, { "functionCall": called }]);
    assert_eq!(anothers[0]["parts"], parts);
}

#[test]
fn each_generation_thinks_and_fills_in_forms_in_its_own_way() {
    let asked = |model: &str, tools: bool| {
        let schema = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
        let form = OutputForm { name: "cat".into(), schema, strict: false };
        let request = ModelRequest {
            model: model.into(),
            output: Some(Arc::new(form)),
            reasoning: Some(Effort::Low),
            tools: tools.then(|| tool("look", json!({}))).into_iter().collect(),
            ..ModelRequest::default()
        };
        body(&request)
    };
    let mime = |body: &Value| body["generationConfig"]["responseMimeType"].clone();

    let new = asked("gemini-3-flash", true);
    let level = json!({ "thinkingLevel": "low", "includeThoughts": true });
    assert_eq!(
        (&new["generationConfig"]["thinkingConfig"], mime(&new)),
        (&level, json!("application/json"))
    );

    let old = asked("gemini-2.5-flash", false);
    let budget = json!({ "thinkingBudget": 1024, "includeThoughts": true });
    assert_eq!(old["generationConfig"]["thinkingConfig"], budget);
    assert_eq!(old["generationConfig"]["responseSchema"]["properties"]["a"]["type"], "string");

    let with_tools = asked("gemini-2.5-flash", true);
    assert_eq!(mime(&with_tools), Value::Null);
    let words = with_tools["systemInstruction"]["parts"][0]["text"].as_str().unwrap();
    assert!(words.contains("JSON Schema"), "{words}");
    assert_eq!(asked("gemini-2.0-flash", true)["generationConfig"], Value::Null);
}
