//! What is sent to `chat/completions`.

use serde_json::{Map, Value, json};
use shared_models::message::{Block, Content, Message, ToolCall};
use url::Url;

use crate::model::ModelRequest;
use crate::tool::ToolSpec;

pub(super) fn body(request: &ModelRequest, url: &Url) -> Value {
    let mut body = Map::new();
    body.insert("model".into(), json!(request.model));
    body.insert("messages".into(), request.messages.iter().map(message).collect());
    body.insert("stream".into(), json!(true));
    body.insert("stream_options".into(), json!({ "include_usage": true }));
    if !request.tools.is_empty() {
        body.insert("tools".into(), request.tools.iter().map(ToolSpec::to_openai).collect());
    }
    if let Some(temperature) = request.temperature {
        // Through its shortest spelling: 0.2 as a double is 0.20000000298.
        let shortest: Option<f64> = temperature.to_string().parse().ok();
        body.insert("temperature".into(), json!(shortest));
    }
    if let Some(max_tokens) = request.max_tokens {
        // OpenAI's newer models refuse the old name, most compatible servers ignore the new one.
        let openai = url.host_str().is_some_and(|host| host == "api.openai.com");
        let name = if openai { "max_completion_tokens" } else { "max_tokens" };
        body.insert(name.into(), json!(max_tokens));
    }
    body.into()
}

fn message(message: &Message) -> Value {
    match message {
        Message::System { content } => json!({ "role": "system", "content": content }),
        Message::User { content: Content::Text(text) } => {
            json!({ "role": "user", "content": text })
        }
        Message::User { content: Content::Blocks(blocks) } => {
            json!({ "role": "user", "content": blocks.iter().map(block).collect::<Vec<_>>() })
        }
        Message::Assistant { content, tool_calls, reasoning: _ } if tool_calls.is_empty() => {
            json!({ "role": "assistant", "content": content })
        }
        Message::Assistant { content, tool_calls, reasoning: _ } => {
            // Beside tool calls an empty text is refused by some, null by none.
            let content = (!content.is_empty()).then_some(content);
            let calls: Vec<Value> = tool_calls.iter().map(call).collect();
            json!({ "role": "assistant", "content": content, "tool_calls": calls })
        }
        Message::Tool { tool_call_id, content, tool_name: _, error: _ } => {
            json!({ "role": "tool", "tool_call_id": tool_call_id, "content": content })
        }
    }
}

fn block(block: &Block) -> Value {
    match block {
        Block::Text { text } => json!({ "type": "text", "text": text }),
        Block::Image { url } => json!({ "type": "image_url", "image_url": { "url": url } }),
        Block::Document { url, name } => {
            let name = name.as_deref().unwrap_or("document");
            json!({ "type": "file", "file": { "filename": name, "file_data": url } })
        }
    }
}

fn call(call: &ToolCall) -> Value {
    let arguments = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
    let function = json!({ "name": call.name, "arguments": arguments });
    json!({ "id": call.id, "type": "function", "function": function })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared_models::effect::Effect;

    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
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
                        Block::Document {
                            url: "data:application/pdf;base64,AA==".into(),
                            name: None,
                        },
                    ]),
                },
                Message::Assistant {
                    content: String::new(),
                    tool_calls: vec![look],
                    reasoning: Some("hm".into()),
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
            }],
            temperature: Some(0.2),
            max_tokens: Some(7),
        };

        let body = body(&request, &url("http://localhost/v1/chat/completions"));

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
                "temperature": 0.2,
                "max_tokens": 7,
            })
        );
    }

    #[test]
    fn openai_itself_is_told_the_limit_by_its_new_name() {
        let request = ModelRequest { max_tokens: Some(7), ..ModelRequest::default() };
        let body = body(&request, &url("https://api.openai.com/v1/chat/completions"));
        assert_eq!(
            (&body["max_completion_tokens"], &body["max_tokens"]),
            (&json!(7), &Value::Null)
        );
    }
}
