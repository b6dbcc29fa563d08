//! Names of tools. Ours are up to 64 of `[A-Za-z0-9_-]`; "Function calling" wants a letter or an underscore in front.

use std::borrow::Cow;

use crate::model::ToolSet;

/// The name under which Gemini knows a tool.
pub(super) fn sent(name: &str) -> Cow<'_, str> {
    if name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
        return name.into();
    }
    let mut sent = format!("_{name}");
    sent.truncate(64);
    sent.into()
}

/// The tools that had to be renamed: what they are called there, and here.
pub(super) fn given(tools: &ToolSet) -> Vec<(String, String)> {
    let renamed = tools.iter().filter_map(|spec| match sent(&spec.name) {
        Cow::Borrowed(_) => None,
        Cow::Owned(sent) => Some((sent, spec.name.clone())),
    });
    renamed.collect()
}
