//! An API's OpenAPI description, read as HTTP tools: one for each operation. Pure; a document of any size and shape gives
//! tools, warnings or an error, never more work than [`MOST_OPERATIONS`] and the budget of a schema allow.

mod body;
mod names;
mod operation;
mod parameters;
mod refs;
mod schema;
mod security;
mod servers;

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use url::Url;

use super::ToolFields;
use names::Names;
use operation::Place;
use refs::Refs;

pub(crate) use names::{clean, numbered, shortened};

/// More tools than this are of no use to anybody, and the list of them is an answer of its own.
pub(crate) const MOST_OPERATIONS: usize = 1000;

const METHODS: [&str; 8] = ["get", "head", "post", "put", "patch", "delete", "options", "trace"];

/// What is wanted of a document.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Instead of the document's servers.
    pub(crate) base_url: Option<Url>,
    /// Where the document came from; relative servers are relative to it.
    pub(crate) source: Option<Url>,
    /// Operations by id, tag, path or `METHOD /path`, with `*` for anything; all of them when empty.
    pub(crate) include: Vec<String>,
    pub(crate) exclude: Vec<String>,
    /// Stands before every name.
    pub(crate) prefix: String,
}

/// A document as tools.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) title: String,
    pub(crate) version: String,
    pub(crate) operations: Vec<DescribedOperation>,
}

/// One operation that was asked for.
#[derive(Debug)]
pub(crate) struct DescribedOperation {
    /// `GET /pets/{id}`: what it is recognised by when the document is imported again.
    pub(crate) key: String,
    /// The tool, or why there is none.
    pub(crate) tool: Result<Box<ToolFields>, String>,
    pub(crate) warnings: Vec<String>,
}

/// Reads JSON or YAML.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let trimmed = text.trim_start_matches('\u{feff}').trim_start();
    if trimmed.starts_with('{') {
        return serde_json::from_str(trimmed).map_err(|error| format!("not JSON: {error}"));
    }
    serde_saphyr::from_str(text).map_err(|error| {
        let text = error.to_string();
        format!("not YAML: {}", text.lines().next().unwrap_or_default())
    })
}

/// Makes tools of the document's operations. The error says why there can be none at all.
pub(crate) fn describe(document: &Value, wanted: &Wanted) -> Result<Described, String> {
    let version = document.get("openapi").map(as_text).unwrap_or_default();
    if document.get("swagger").is_some() {
        return Err("this is Swagger 2.0: convert it to OpenAPI 3 first".into());
    }
    if !version.starts_with("3.") {
        return Err("the document has no `openapi: 3.x`".into());
    }
    let refs = Refs::new(document);
    let nothing = Map::new();
    let paths = document.get("paths").and_then(Value::as_object).unwrap_or(&nothing);
    let mut names = Names::new(&wanted.prefix);
    let mut operations = Vec::new();
    for (path, item) in paths {
        let item = refs.resolve(item).unwrap_or(item);
        for method in METHODS {
            let Some(operation) = item.get(method) else { continue };
            let place = Place { document, refs: &refs, path, method, item, operation };
            if !place.is_wanted(wanted) {
                continue;
            }
            if operations.len() == MOST_OPERATIONS {
                return Err(format!(
                    "more than {MOST_OPERATIONS} operations: say which with `include`"
                ));
            }
            operations.push(place.describe(wanted, &mut names));
        }
    }
    let info = |field: &str| document.pointer(&format!("/info/{field}")).map(as_text);
    Ok(Described {
        title: info("title").unwrap_or_default(),
        version: info("version").unwrap_or_default(),
        operations,
    })
}

/// Whether a text fits one of the patterns; `*` stands for anything.
fn fits_any(patterns: &[String], texts: &BTreeSet<String>) -> bool {
    patterns.iter().any(|pattern| texts.iter().any(|text| fits(pattern, text)))
}

pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = pattern.rsplit_once('*').map(|(_, last)| last) else { return rest.is_empty() };
    let middle: Vec<&str> = parts.collect();
    for part in middle.iter().take(middle.len().saturating_sub(1)) {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
#[path = "openapi_tests.rs"]
mod tests;
