//! Where an operation is.

use serde_json::Value;
use url::Url;

use super::{Wanted, as_text};

/// The base URL without a slash at its end: as asked for, or of the innermost list of servers.
pub(super) fn base(wanted: &Wanted, levels: [&Value; 3]) -> Result<String, String> {
    let url = match &wanted.base_url {
        Some(url) => url.clone(),
        None => declared(wanted.source.as_ref(), levels)?,
    };
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("`{url}` is neither http nor https: say `base_url`"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("`{url}` is no base for paths: say `base_url`"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn declared(source: Option<&Url>, levels: [&Value; 3]) -> Result<Url, String> {
    let server = levels.into_iter().find_map(|level| level.get("servers")?.get(0));
    // The specification: without servers, there is one with the URL `/`.
    let text = server.and_then(|server| server.get("url")).map_or_else(|| "/".into(), as_text);
    let text = filled(&text, server.and_then(|server| server.get("variables")))?;
    let absolute = Url::parse(&text).or_else(|error| match source {
        Some(source) => source.join(&text),
        None => Err(error),
    });
    absolute.map_err(|_| format!("the server `{text}` is no absolute URL: say `base_url`"))
}

/// Variables stand for their defaults.
fn filled(text: &str, variables: Option<&Value>) -> Result<String, String> {
    let mut text = text.to_owned();
    for (name, variable) in variables.and_then(Value::as_object).into_iter().flatten() {
        let default = variable.get("default").map(as_text).unwrap_or_default();
        text = text.replace(&format!("{{{name}}}"), &default);
    }
    if text.contains(['{', '}']) {
        return Err(format!(
            "the server `{text}` has a variable without a default: say `base_url`"
        ));
    }
    Ok(text)
}
