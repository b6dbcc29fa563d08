//! What a server answers, as the model reads it.

use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use serde_json::Value;

use crate::toolbox::Outcome;

/// Of more than a model should read at once it is shown the beginning; the rest is an artifact.
const LONGEST: usize = 1024 * 1024;

pub(super) fn outcome(result: CallToolResult) -> Outcome {
    let failed = result.is_error == Some(true);
    let mut text = text(&result);
    // Postgres stores it too, and takes no NUL.
    text = text.replace('\0', "\u{fffd}");
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push_str("\n(cut here: the answer was longer)");
    }
    if failed { Outcome::Failed(text) } else { Outcome::Done(text) }
}

fn text(result: &CallToolResult) -> String {
    let parts: Vec<String> = result.content.iter().map(block).collect();
    let said = parts.join("\n");
    match &result.structured_content {
        // Servers repeat what is structured as text, for clients that know only that.
        Some(value) if said.is_empty() => value.to_string(),
        Some(value) if !repeats(&said, value) => format!("{said}\n{value}"),
        _ if said.is_empty() => "(empty answer)".into(),
        _ => said,
    }
}

fn repeats(said: &str, value: &Value) -> bool {
    serde_json::from_str::<Value>(said).is_ok_and(|said| said == *value)
}

/// A message is text: what is none is named.
fn block(block: &ContentBlock) -> String {
    match block {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Image(image) => {
            format!("(an image: {}, {} characters of base64)", image.mime_type, image.data.len())
        }
        ContentBlock::Audio(audio) => {
            format!("(a recording: {}, {} characters of base64)", audio.mime_type, audio.data.len())
        }
        ContentBlock::Resource(resource) => match &resource.resource {
            ResourceContents::TextResourceContents { uri, text, .. } => format!("{uri}:\n{text}"),
            ResourceContents::BlobResourceContents { uri, .. } => format!("(a file: {uri})"),
            _ => "(a resource of an unknown kind)".into(),
        },
        ContentBlock::ResourceLink(link) => format!("(see {}: {})", link.name, link.uri),
        _ => "(something of an unknown kind)".into(),
    }
}
