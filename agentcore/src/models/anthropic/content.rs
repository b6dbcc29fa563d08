//! Blocks of a message on their way to Anthropic.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use shared_models::message::{Block, ToolCall};

use super::super::arguments::as_object;
use super::super::media::Media;
use crate::model::ModelError;

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Sent<'a> {
    /// As it came.
    Kept(Value),
    Ours(Ours<'a>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Ours<'a> {
    Text {
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<Ephemeral>,
    },
    Image {
        source: Source<'a>,
    },
    Document {
        source: Source<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: &'a str,
        input: Cow<'a, RawValue>,
    },
    ToolResult {
        tool_use_id: Cow<'a, str>,
        content: &'a str,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<Ephemeral>,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Source<'a> {
    Url { url: &'a str },
    Base64 { media_type: &'a str, data: Cow<'a, str> },
    Text { media_type: &'a str, data: Cow<'a, str> },
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "ephemeral")]
pub(super) struct Ephemeral {}

impl<'a> Sent<'a> {
    /// Anthropic refuses empty text, so there is none.
    pub(super) fn text(text: &'a str) -> Option<Self> {
        let ours = Ours::Text { text, cache_control: None };
        (!text.trim().is_empty()).then_some(Self::Ours(ours))
    }

    pub(super) fn block(block: &'a Block) -> Result<Option<Self>, ModelError> {
        Ok(Some(Self::Ours(match block {
            Block::Text { text } => return Ok(Self::text(text)),
            Block::Image { url } => Ours::Image { source: image(url)? },
            Block::Document { url, name } => {
                Ours::Document { source: document(url)?, title: name.as_deref() }
            }
        })))
    }

    pub(super) fn call(call: &'a ToolCall) -> Result<Self, ModelError> {
        let input = as_object(&call.arguments)?;
        Ok(Self::Ours(Ours::ToolUse { id: id(&call.id), name: &call.name, input }))
    }

    pub(super) fn result(call: &'a str, content: &'a str, is_error: bool) -> Self {
        let tool_use_id = id(call);
        Self::Ours(Ours::ToolResult { tool_use_id, content, is_error, cache_control: None })
    }

    /// Everything up to and with this block is worth keeping.
    pub(super) fn cache(&mut self) {
        if let Self::Ours(
            Ours::Text { cache_control, .. } | Ours::ToolResult { cache_control, .. },
        ) = self
        {
            *cache_control = Some(Ephemeral {});
        }
    }
}

/// Anthropic takes `[A-Za-z0-9_-]`; ids of other providers may have more.
fn id(id: &str) -> Cow<'_, str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if id.chars().all(allowed) {
        return id.into();
    }
    id.chars().map(|c| if allowed(c) { c } else { '_' }).collect::<String>().into()
}

fn image(url: &str) -> Result<Source<'_>, ModelError> {
    Ok(match Media::of(url)? {
        Media::Elsewhere(url) => Source::Url { url },
        Media::Here { kind, base64 } => Source::Base64 { media_type: kind, data: base64 },
    })
}

/// "PDF support" and "Citations": PDF as base64, plain text as text.
fn document(url: &str) -> Result<Source<'_>, ModelError> {
    Ok(match Media::of(url)? {
        Media::Elsewhere(url) => Source::Url { url },
        Media::Here { kind, base64 } if kind.starts_with("text/") => {
            let text = super::super::media::text(&base64)?;
            Source::Text { media_type: "text/plain", data: text.into() }
        }
        Media::Here { kind, base64 } => Source::Base64 { media_type: kind, data: base64 },
    })
}
