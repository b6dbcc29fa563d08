//! What is said in a conversation: the shape every provider is translated from and to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

pub use crate::usage::Usage;

/// One message of a conversation, told apart by its `role`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Message {
    /// Instructions; never written by the person who asks.
    System {
        content: String,
    },
    User {
        content: Content,
    },
    Assistant {
        #[serde(default)]
        content: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall>,
        /// What the model thought before it answered, where a provider shows it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reasoning: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replay: Option<Replay>,
    },
    /// The answer to one tool call of the assistant message before it.
    Tool {
        tool_call_id: String,
        tool_name: String,
        content: String,
        /// The call failed and `content` says why.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        error: bool,
    },
}

impl Message {
    pub fn system(content: impl Into<String>) -> Self {
        Self::System { content: content.into() }
    }

    pub fn user(text: impl Into<String>) -> Self {
        Self::User { content: Content::Text(text.into()) }
    }

    pub fn assistant(text: impl Into<String>) -> Self {
        Self::Assistant {
            content: text.into(),
            tool_calls: Vec::new(),
            reasoning: None,
            replay: None,
        }
    }
}

/// What a provider wants back, word for word, with the message it came with: signatures of the model's reasoning, say.
/// Means nothing to any other provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct Replay {
    /// As before the colon in `anthropic:claude`.
    pub provider: String,
    pub data: Value,
}

/// What a person says: plain text, or blocks when there is more than text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(untagged)]
pub enum Content {
    Text(String),
    Blocks(Vec<Block>),
}

impl Content {
    /// The text alone, blocks joined by a newline; images and documents are left out.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Blocks(blocks) => {
                let texts: Vec<&str> = blocks
                    .iter()
                    .filter_map(|block| match block {
                        Block::Text { text } => Some(text.as_str()),
                        Block::Image { .. } | Block::Document { .. } => None,
                    })
                    .collect();
                texts.join("\n")
            }
        }
    }
}

impl Content {
    /// About how many bytes it is.
    pub fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Blocks(blocks) => blocks.iter().map(Block::size).sum(),
        }
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// A piece of a message, told apart by its `type`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    Text {
        text: String,
    },
    /// An `https:` or `data:` URL.
    Image {
        url: String,
    },
    /// An `https:` or `data:` URL and the file name to show for it.
    Document {
        url: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
}

impl Block {
    fn size(&self) -> usize {
        match self {
            Self::Text { text } => text.len(),
            Self::Image { url } | Self::Document { url, .. } => url.len(),
        }
    }
}

/// A model's wish to call a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct ToolCall {
    /// Unique within the conversation.
    pub id: String,
    pub name: String,
    /// JSON text as the model wrote it: possibly not JSON at all.
    pub arguments: String,
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json, to_value};

    use super::*;

    #[test]
    fn a_message_is_told_apart_by_its_role() {
        let call = ToolCall { id: "c1".into(), name: "add".into(), arguments: r#"{"a":1}"#.into() };
        let table = [
            (Message::system("be kind"), json!({ "role": "system", "content": "be kind" })),
            (Message::user("hi"), json!({ "role": "user", "content": "hi" })),
            (Message::assistant("hello"), json!({ "role": "assistant", "content": "hello" })),
            (
                Message::Assistant {
                    content: String::new(),
                    tool_calls: vec![call],
                    reasoning: Some("sum".into()),
                    replay: None,
                },
                json!({ "role": "assistant", "content": "", "reasoning": "sum",
                    "tool_calls": [{ "id": "c1", "name": "add", "arguments": "{\"a\":1}" }] }),
            ),
            (
                Message::Tool {
                    tool_call_id: "c1".into(),
                    tool_name: "add".into(),
                    content: "no".into(),
                    error: true,
                },
                json!({ "role": "tool", "tool_call_id": "c1", "tool_name": "add",
                    "content": "no", "error": true }),
            ),
        ];

        for (message, wire) in table {
            assert_eq!(to_value(&message).unwrap(), wire);
            assert_eq!(from_value::<Message>(wire).unwrap(), message);
        }
    }

    #[test]
    fn content_is_text_or_blocks() {
        let blocks: Content = from_value(json!([
            { "type": "text", "text": "look:" },
            { "type": "image", "url": "https://example.com/cat.png" },
            { "type": "document", "url": "data:application/pdf;base64,AA==", "name": "a.pdf" },
            { "type": "text", "text": "a cat" },
        ]))
        .unwrap();

        assert_eq!(blocks.text(), "look:\na cat");
        assert_eq!(from_value::<Content>(json!("plain")).unwrap(), Content::from("plain"));
        assert!(from_value::<Content>(json!([{ "type": "smell" }])).is_err());
    }
}
