//! A web page as text.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};
use servicekit::egress::{Answer, Call, EgressError, HostPattern};

use super::{BuiltinConfig, html, text};
use crate::{app::App, toolbox::Outcome};

const MOST_BYTES: usize = 2 * 1024 * 1024;
/// What a model can make use of.
const LONGEST: usize = 48 * 1024;

pub(super) fn describe() -> (&'static str, Value) {
    let parameters = json!({ "type": "object", "additionalProperties": false, "required": ["url"],
        "properties": { "url": { "type": "string", "description": "https:// or http://" },
            "start": { "type": "integer", "minimum": 0, "description": "Where to go on in a long page." } } });
    ("Reads a web page and gives its text.", parameters)
}

pub(super) async fn call(
    app: &App,
    config: &BuiltinConfig,
    timeout_ms: u32,
    arguments: &Value,
) -> Outcome {
    let url = match text(arguments, "url").map(url::Url::parse) {
        Some(Ok(url)) => url,
        Some(Err(error)) => return Outcome::Failed(format!("this is no URL: {error}")),
        None => return Outcome::Failed("there is no URL".into()),
    };
    let mut headers = HeaderMap::new();
    let accept = "text/html, text/plain;q=0.9, application/json;q=0.8, */*;q=0.1";
    headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    let allowed_hosts = match config.allowed_hosts.as_slice() {
        [] => vec![HostPattern::any()],
        some => some.iter().filter_map(|host| HostPattern::parse(host)).collect(),
    };
    let call = Call {
        method: Method::GET,
        url,
        headers,
        body: Bytes::new(),
        injection: None,
        allowed_hosts,
        timeout: Duration::from_millis(timeout_ms.into()),
        max_response_bytes: MOST_BYTES,
    };
    let start = arguments.get("start").and_then(Value::as_u64).unwrap_or_default();
    match app.egress.send(call).await {
        Ok(answer) if answer.status.is_success() => readable(&answer, start as usize),
        Ok(answer) => Outcome::Failed(format!("the server answered HTTP {}", answer.status)),
        Err(EgressError::Denied(why) | EgressError::Unreachable(why)) => Outcome::Refused(why),
        Err(EgressError::Misdirected(why) | EgressError::Unknown(why)) => Outcome::Failed(why),
    }
}

fn readable(answer: &Answer, start: usize) -> Outcome {
    let kind = answer.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or("text/html").split(';').next().unwrap_or_default().trim().to_owned();
    let body = String::from_utf8_lossy(&answer.body);
    let text = match kind.as_str() {
        "text/html" | "application/xhtml+xml" => html::to_text(&body),
        kind if kind.starts_with("text/") || kind.contains("json") || kind.contains("xml") => {
            body.into_owned()
        }
        kind => return Outcome::Failed(format!("this is {kind}, not text")),
    };
    let text = text.replace('\0', "\u{fffd}");
    let from = text.floor_char_boundary(start.min(text.len()));
    let to = text.floor_char_boundary((from + LONGEST).min(text.len()));
    let mut part = text.get(from..to).unwrap_or_default().to_owned();
    if part.is_empty() {
        part = "(no text)".into();
    }
    if to < text.len() {
        part = format!("{part}\n(cut here; go on with start = {to})");
    } else if answer.truncated {
        part.push_str("\n(cut here: the page is longer than 2 MiB)");
    }
    Outcome::Done(part)
}
