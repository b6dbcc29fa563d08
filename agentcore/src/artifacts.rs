//! Long tool results, put aside: the model reads a preview and fetches the parts it needs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use shared_models::effect::Effect;

use crate::result::BoxError;
use crate::tool::{Tool, ToolCx, ToolError, ToolOutput, ToolSpec};

/// A result longer than this is put aside.
pub const LONGEST_RESULT: usize = 64 * 1024;
/// Nothing beyond this is kept of a result.
pub const LONGEST_ARTIFACT: usize = 16 * 1024 * 1024;
/// What the model reads of a result that was put aside, and the most it is given at once.
pub const PREVIEW: usize = 4 * 1024;
const LONGEST_RANGE: usize = 32 * 1024;

/// Keeps long results. [`InMemory`] unless the agent is given another.
///
/// ```
/// use agentcore::artifacts::{ArtifactStore, InMemory};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), agentcore::BoxError> {
/// let store = InMemory::new();
/// let id = store.put("a long result".into()).await?;
/// assert_eq!(store.get(&id).await?.as_deref(), Some("a long result"));
/// # Ok(())
/// # }
/// ```
pub trait ArtifactStore: Send + Sync {
    /// Keeps a text and names it.
    fn put(&self, content: String) -> BoxFuture<'_, Result<String, BoxError>>;

    /// The text of that name.
    fn get<'a>(&'a self, artifact_id: &'a str)
    -> BoxFuture<'a, Result<Option<Arc<str>>, BoxError>>;
}

/// Keeps artifacts for as long as it lives.
///
/// ```
/// use std::sync::Arc;
/// use agentcore::{Agent, artifacts::InMemory};
///
/// // Given to an agent it outlives each run, so that a later one can still read what an earlier one put aside.
/// let agent = Agent::builder("reader").model("sim:echo").artifacts(Arc::new(InMemory::new())).build()?;
/// # Ok::<(), agentcore::BuildError>(())
/// ```
#[derive(Debug, Default)]
pub struct InMemory {
    kept: Mutex<HashMap<String, Arc<str>>>,
}

impl InMemory {
    pub fn new() -> Self {
        Self::default()
    }
}

impl ArtifactStore for InMemory {
    fn put(&self, content: String) -> BoxFuture<'_, Result<String, BoxError>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let id = format!("art_{}", kept.len() + 1);
        kept.insert(id.clone(), content.into());
        std::future::ready(Ok(id)).boxed()
    }

    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Arc<str>>, BoxError>> {
        let found = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        std::future::ready(Ok(found)).boxed()
    }
}

/// Cuts what is too long to be kept at all. Says how long it was.
///
/// ```
/// use agentcore::artifacts::{LONGEST_ARTIFACT, bounded};
///
/// let (kept, bytes) = bounded("x".repeat(LONGEST_ARTIFACT + 1));
/// assert_eq!((kept.len(), bytes), (LONGEST_ARTIFACT, LONGEST_ARTIFACT + 1));
/// ```
pub fn bounded(mut content: String) -> (String, usize) {
    let bytes = content.len();
    if bytes > LONGEST_ARTIFACT {
        content.truncate(content.floor_char_boundary(LONGEST_ARTIFACT));
        content.shrink_to_fit();
    }
    (content, bytes)
}

/// What the model reads in place of a result that was put aside; `bytes` is how long the tool's answer was.
///
/// ```
/// use agentcore::artifacts::{is_preview, preview};
///
/// let shown = preview("art_1", "It begins like this", 100_000);
/// assert!(is_preview(&shown) && shown.contains("100000 bytes") && shown.ends_with("like this"));
/// ```
pub fn preview(artifact_id: &str, content: &str, bytes: usize) -> String {
    preview_for(NAME, artifact_id, content, bytes)
}

/// The same where the tool that reads artifacts has another name.
pub fn preview_for(tool: &str, artifact_id: &str, content: &str, bytes: usize) -> String {
    let shown = content.get(..content.floor_char_boundary(PREVIEW)).unwrap_or_default();
    let kept = content.len();
    let cut =
        if kept < bytes { format!(", of which the first {kept} are kept") } else { String::new() };
    format!(
        "The result has {bytes} bytes{cut}. It is kept as the artifact `{artifact_id}`: call `{tool}` for more of it. \
         It begins:\n{shown}"
    )
}

/// Whether a tool's answer is such a preview.
pub fn is_preview(content: &str) -> bool {
    let head = content.get(..content.floor_char_boundary(160)).unwrap_or_default();
    head.starts_with("The result has ") && head.contains(" kept as the artifact `")
}

/// What the tool that reads artifacts is called.
pub const NAME: &str = "retrieve_artifact";

/// Lets a model read an artifact, a range at a time.
///
/// ```
/// use std::sync::Arc;
/// use agentcore::artifacts::{ArtifactStore, InMemory, RetrieveArtifact};
/// use agentcore::{ToolCx, call_tool};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), agentcore::BoxError> {
/// let store = Arc::new(InMemory::new());
/// let id = store.put("0123456789".into()).await?;
/// let tool = RetrieveArtifact::new(store);
///
/// let asked = format!(r#"{{ "artifact_id": "{id}", "start": 2, "length": 3 }}"#);
/// let read = call_tool(&tool, &ToolCx::new("call_1", "key_1"), &asked).await?;
/// assert!(read.content.contains("234"));
/// # Ok(())
/// # }
/// ```
pub struct RetrieveArtifact {
    spec: ToolSpec,
    store: Arc<dyn ArtifactStore>,
}

impl RetrieveArtifact {
    pub fn new(store: Arc<dyn ArtifactStore>) -> Self {
        Self { spec: spec(), store }
    }

    async fn read(&self, arguments: &Value) -> Result<ToolOutput, ToolError> {
        let id = arguments["artifact_id"].as_str().unwrap_or_default();
        let found = self.store.get(id).await.map_err(|error| ToolError::Tell(error.to_string()))?;
        let content =
            found.ok_or_else(|| ToolError::Tell(format!("there is no artifact `{id}`")))?;
        Ok(part(&content, arguments).into())
    }
}

/// How the tool that reads artifacts is shown to a model.
pub fn spec() -> ToolSpec {
    let parameters = json!({ "type": "object", "required": ["artifact_id"], "properties": {
            "artifact_id": { "type": "string", "description": "As the preview names it." },
            "start": { "type": "integer", "minimum": 0, "default": 0,
                "description": "The first byte to read." },
            "length": { "type": "integer", "minimum": 1, "maximum": LONGEST_RANGE, "default": PREVIEW,
                "description": "How many bytes to read." } } });
    ToolSpec {
        name: NAME.into(),
        description: "Reads part of a long tool result that was put aside.".into(),
        parameters,
        effect: Effect::Read,
        timeout: Duration::from_secs(30),
    }
}

/// The part of an artifact that a call of that tool asks for.
pub fn part(content: &str, arguments: &Value) -> String {
    let number = |name: &str, otherwise: usize| {
        arguments[name].as_u64().map_or(otherwise, |number| number as usize)
    };
    range(content, number("start", 0), number("length", PREVIEW))
}

fn range(content: &str, start: usize, length: usize) -> String {
    let start = content.floor_char_boundary(start.min(content.len()));
    let end = start.saturating_add(length.clamp(1, LONGEST_RANGE)).min(content.len());
    // At least one character, so that reading on gets somewhere.
    let end = content.ceil_char_boundary(end);
    let part = content.get(start..end).unwrap_or_default();
    format!("[bytes {start} to {end} of {}]\n{part}", content.len())
}

impl Tool for RetrieveArtifact {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(
        &'a self,
        _cx: &'a ToolCx,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, ToolError>> {
        async move { self.read(&arguments).await }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_never_cuts_a_character_and_never_leaves_the_text() {
        let text = "aéb";
        assert_eq!(range(text, 0, 2), "[bytes 0 to 3 of 4]\naé");
        assert_eq!(range(text, 2, 1), "[bytes 1 to 3 of 4]\né");
        assert_eq!(range(text, 9, 9), "[bytes 4 to 4 of 4]\n");
        assert_eq!(range(text, 3, usize::MAX), "[bytes 3 to 4 of 4]\nb");
    }

    #[test]
    fn a_preview_says_how_long_it_was_and_how_to_go_on() {
        let (content, bytes) = bounded("é".repeat(LONGEST_ARTIFACT));

        let preview = preview("art_1", &content, bytes);

        assert_eq!((content.len(), bytes), (LONGEST_ARTIFACT, 2 * LONGEST_ARTIFACT));
        assert!(preview.starts_with("The result has 33554432 bytes, of which the first 16777216"));
        assert!(preview.contains("`art_1`: call `retrieve_artifact`"), "{preview:.200}");
        assert!(preview.len() < PREVIEW + 300);
        assert!(is_preview(&preview) && !is_preview("The result has é"));
    }
}
