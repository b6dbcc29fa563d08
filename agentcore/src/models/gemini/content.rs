//! Parts of a message on their way to Gemini.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;
use shared_models::message::{Block, Content, Message, ToolCall};

use super::super::arguments::as_object;
use super::super::media::{Media, kind_by_name};
use super::names;
use super::signatures::{Signatures, Signed};
use crate::model::ModelError;

#[derive(Serialize)]
pub(super) struct Turn<'a> {
    pub(super) role: &'static str,
    pub(super) parts: Vec<Part<'a>>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inline_data: Option<Inline<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_data: Option<File<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<Call<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_response: Option<Response<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thought_signature: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inline<'a> {
    mime_type: &'a str,
    data: Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    mime_type: &'static str,
    file_uri: &'a str,
}

#[derive(Serialize)]
struct Call<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    name: Cow<'a, str>,
    args: Cow<'a, RawValue>,
}

#[derive(Serialize)]
#[allow(clippy::struct_field_names, reason = "the names are Google's")]
struct Response<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    name: Cow<'a, str>,
    response: Outcome<'a>,
}

/// "FunctionResponse": `output` or `error`.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome<'a> {
    Output(&'a str),
    Error(&'a str),
}

/// What a model that signs its calls accepts in place of a signature that somebody else's call does not have.
const UNSIGNED: &str = "skip_thought_signature_validator";

/// A conversation by turns: the user's, with the answers of tools, and the model's.
pub(super) fn turns(messages: &[Message], signs: bool) -> Result<Vec<Turn<'_>>, ModelError> {
    let mut turns: Vec<Turn> = Vec::new();
    let mut called: Vec<(&str, Signed)> = Vec::new();
    for message in messages {
        let (role, parts) = match message {
            Message::System { .. } => continue,
            Message::User { content } => ("user", said_by_user(content)?),
            Message::Assistant { content, tool_calls, replay, reasoning: _ } => {
                let signatures = Signatures::read(replay.as_ref());
                let told = Told { content, tool_calls, signatures, signs };
                let (parts, ids) = told.parts()?;
                called = ids;
                ("model", parts)
            }
            Message::Tool { tool_call_id, tool_name, content, error } => {
                let id = called.iter().find(|(id, _)| id == tool_call_id);
                let id = id.and_then(|(_, signed)| signed.id.clone());
                let response =
                    if *error { Outcome::Error(content) } else { Outcome::Output(content) };
                let response = Response { id, name: names::sent(tool_name), response };
                ("user", vec![Part { function_response: Some(response), ..Part::default() }])
            }
        };
        match turns.last_mut() {
            _ if parts.is_empty() => {}
            Some(turn) if turn.role == role => turn.parts.extend(parts),
            _ => turns.push(Turn { role, parts }),
        }
    }
    Ok(turns)
}

impl<'a> Part<'a> {
    pub(super) fn text(text: &'a str) -> Self {
        Self { text: Some(text), ..Self::default() }
    }

    fn block(block: &'a Block) -> Result<Self, ModelError> {
        let (url, name) = match block {
            Block::Text { text } => return Ok(Self::text(text)),
            Block::Image { url } => (url, None),
            Block::Document { url, name } => (url, name.as_deref()),
        };
        Ok(match Media::of(url)? {
            Media::Here { kind, base64 } => {
                let inline = Inline { mime_type: kind, data: base64 };
                Self { inline_data: Some(inline), ..Self::default() }
            }
            Media::Elsewhere(url) => {
                let otherwise = if matches!(block, Block::Image { .. }) {
                    "image/jpeg"
                } else {
                    "application/pdf"
                };
                let kind = name.and_then(kind_by_name).or_else(|| kind_by_name(url));
                let file = File { mime_type: kind.unwrap_or(otherwise), file_uri: url };
                Self { file_data: Some(file), ..Self::default() }
            }
        })
    }
}

fn said_by_user(content: &Content) -> Result<Vec<Part<'_>>, ModelError> {
    match content {
        Content::Text(text) if text.is_empty() => Ok(Vec::new()),
        Content::Text(text) => Ok(vec![Part::text(text)]),
        Content::Blocks(blocks) => blocks.iter().map(Part::block).collect(),
    }
}

/// What the model said, with its signatures.
struct Told<'a> {
    content: &'a str,
    tool_calls: &'a [ToolCall],
    signatures: Option<Signatures>,
    signs: bool,
}

type Parts<'a> = (Vec<Part<'a>>, Vec<(&'a str, Signed)>);

impl<'a> Told<'a> {
    fn parts(self) -> Result<Parts<'a>, ModelError> {
        let ours = self.signatures.is_some();
        let signatures = self.signatures.unwrap_or_default();
        let mut parts = Vec::new();
        if !self.content.is_empty() || signatures.text.is_some() {
            let thought_signature = signatures.text;
            parts.push(Part { thought_signature, ..Part::text(self.content) });
        }
        let mut called = Vec::new();
        let mut signed = signatures.calls.into_iter();
        for (index, call) in self.tool_calls.iter().enumerate() {
            let Signed { signature, id } = signed.next().unwrap_or_default();
            called.push((call.id.as_str(), Signed { signature: None, id: id.clone() }));
            // Of calls made at once the first is signed.
            let missing = self.signs && !ours && index == 0;
            let args = as_object(&call.arguments)?;
            parts.push(Part {
                function_call: Some(Call { id, name: names::sent(&call.name), args }),
                thought_signature: signature.or_else(|| missing.then(|| UNSIGNED.to_owned())),
                ..Part::default()
            });
        }
        Ok((parts, called))
    }
}
