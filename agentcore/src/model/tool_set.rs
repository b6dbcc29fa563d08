//! Tools as a model is told about them: written down once for each provider, not once a call.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::tool::ToolSpec;

/// The tools of a request. Cheap to clone: whoever asks again and again makes one and clones it, and its schemas are
/// serialised only once.
///
/// ```
/// # use agentcore::{Effect, ToolSet, ToolSpec};
/// # use serde_json::json;
/// let look = ToolSpec {
///     name: "look".into(),
///     description: "Looks.".into(),
///     parameters: json!({ "type": "object" }),
///     effect: Effect::Read,
///     timeout: ToolSpec::DEFAULT_TIMEOUT,
/// };
/// let tools: ToolSet = [look].into_iter().collect();
/// assert_eq!(tools[0].name, "look");
/// ```
#[derive(Clone, Debug, Default)]
pub struct ToolSet(Option<Arc<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    specs: Vec<ToolSpec>,
    written: [OnceLock<Box<RawValue>>; 3],
}

/// The ways to write tools down.
#[derive(Clone, Copy)]
pub(crate) enum Spelling {
    OpenAi,
    Anthropic,
    Gemini,
}

impl ToolSet {
    /// The tools as `write` puts them, which must depend on the spelling and the tools alone.
    pub(crate) fn written<T: Serialize>(
        &self,
        spelling: Spelling,
        write: impl FnOnce(&[ToolSpec]) -> T,
    ) -> Result<Option<&RawValue>, serde_json::Error> {
        let Some(inner) = &self.0 else { return Ok(None) };
        let [openai, anthropic, gemini] = &inner.written;
        let cell = match spelling {
            Spelling::OpenAi => openai,
            Spelling::Anthropic => anthropic,
            Spelling::Gemini => gemini,
        };
        if let Some(written) = cell.get() {
            return Ok(Some(written));
        }
        let written = to_raw_value(&write(&inner.specs))?;
        Ok(Some(cell.get_or_init(|| written)))
    }
}

impl Deref for ToolSet {
    type Target = [ToolSpec];

    fn deref(&self) -> &[ToolSpec] {
        self.0.as_ref().map_or(&[], |inner| inner.specs.as_slice())
    }
}

impl PartialEq for ToolSet {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl From<Vec<ToolSpec>> for ToolSet {
    fn from(specs: Vec<ToolSpec>) -> Self {
        let filled = !specs.is_empty();
        Self(filled.then(|| Arc::new(Inner { specs, written: Default::default() })))
    }
}

impl FromIterator<ToolSpec> for ToolSet {
    fn from_iter<I: IntoIterator<Item = ToolSpec>>(specs: I) -> Self {
        specs.into_iter().collect::<Vec<_>>().into()
    }
}
