//! From a template and arguments to a request.

use std::{collections::BTreeSet, fmt::Write as _};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use serde_json::{Map, Value};
use url::Url;

use super::{
    Encoding, HttpConfig,
    template::{self, Piece},
};

/// A request without its credential.
#[derive(Debug)]
pub(super) struct Rendered {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Fills the templates; the error is for the model.
pub(super) fn render(
    config: &HttpConfig,
    arguments: &Map<String, Value>,
) -> Result<Rendered, String> {
    let joined = joined(config, arguments);
    let arguments = joined.as_ref().unwrap_or(arguments);
    let mut url = render_url(&config.url, arguments)?;
    let mut headers = HeaderMap::new();
    for (name, value) in &config.headers {
        let pieces = template::pieces(value);
        if let [Piece::Argument(name)] = pieces.as_slice()
            && template::text_of(arguments, name).is_none()
        {
            continue;
        }
        let text = template::fill_text(&pieces, arguments);
        let bad = || format!("the arguments do not fit into the header `{name}`");
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        headers.insert(name, HeaderValue::from_str(&text).map_err(|_| bad())?);
    }
    let mut body = Bytes::new();
    if config.method.has_body() {
        let json = match &config.body {
            Some(body) => template::fill(body, arguments),
            None => Some(Value::Object(rest_of(config, arguments))),
        };
        if let Some(json) = json {
            let (kind, text) = encoded(config.encoding, &json)?;
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(kind));
            body = text.into();
        }
    } else {
        for (name, value) in rest_of(config, arguments) {
            append_query(&mut url, &name, &value);
        }
    }
    Ok(Rendered { url, headers, body })
}

/// The arguments with those lists joined that stand as one text; none when there are none to join.
fn joined(config: &HttpConfig, arguments: &Map<String, Value>) -> Option<Map<String, Value>> {
    if config.join.is_empty() {
        return None;
    }
    let mut arguments = arguments.clone();
    for (name, between) in &config.join {
        if let Some(Value::Array(items)) = arguments.get(name) {
            let items: Vec<String> = items.iter().map(plain).collect();
            arguments.insert(name.clone(), items.join(between).into());
        }
    }
    Some(arguments)
}

/// The body's media type and text.
fn encoded(encoding: Encoding, body: &Value) -> Result<(&'static str, String), String> {
    if encoding == Encoding::Json {
        return Ok(("application/json", body.to_string()));
    }
    let fields = body.as_object().ok_or("a form is an object of fields")?;
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields {
        for item in items_of(value) {
            form.append_pair(name, &plain(item));
        }
    }
    Ok(("application/x-www-form-urlencoded", form.finish()))
}

/// The arguments that no template uses.
fn rest_of(config: &HttpConfig, arguments: &Map<String, Value>) -> Map<String, Value> {
    let in_headers = config.headers.values().flat_map(|value| template::names(value));
    let used: BTreeSet<&str> = template::names(&config.url).chain(in_headers).collect();
    let rest = arguments.iter().filter(|(name, _)| !used.contains(name.as_str()));
    rest.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn render_url(url: &str, arguments: &Map<String, Value>) -> Result<Url, String> {
    let (base, rest) = template::split(url).ok_or("the tool's URL is not one")?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut segments = Vec::new();
    for segment in path.split('/').skip(1) {
        let segment = render_segment(segment, arguments)?;
        // Whoever reads the URL would go up a level.
        if is_dots(&segment) {
            return Err("an argument makes the path lead elsewhere".into());
        }
        segments.push(segment);
    }
    let mut url: Url = format!("{base}/{}", segments.join("/"))
        .parse()
        .map_err(|error| format!("the arguments do not make a URL: {error}"))?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let key = decoded(key);
        match template::pieces(value).as_slice() {
            [Piece::Argument(name)] => {
                append_query(&mut url, &key, arguments.get(*name).unwrap_or(&Value::Null));
            }
            pieces => {
                let text = template::fill_text(pieces, arguments);
                let fixed = pieces.iter().all(|piece| matches!(piece, Piece::Text(_)));
                let text = if fixed { decoded(&text) } else { text };
                url.query_pairs_mut().append_pair(&key, &text);
            }
        }
    }
    Ok(url)
}

fn render_segment(segment: &str, arguments: &Map<String, Value>) -> Result<String, String> {
    let mut text = String::new();
    for piece in template::pieces(segment) {
        match piece {
            Piece::Text(fixed) => text.push_str(fixed),
            Piece::Argument(name) => {
                let value = template::text_of(arguments, name).filter(|value| !value.is_empty());
                let value = value.ok_or_else(|| {
                    format!("the argument `{name}` is missing: it is part of the path")
                })?;
                push_encoded(&mut text, &value);
            }
        }
    }
    Ok(text)
}

/// Adds a query parameter: a list once for each item, nothing for null.
fn append_query(url: &mut Url, key: &str, value: &Value) {
    for item in items_of(value) {
        url.query_pairs_mut().append_pair(key, &plain(item));
    }
}

/// A list's items, one of a single value, none of null.
fn items_of(value: &Value) -> &[Value] {
    match value {
        Value::Null => &[],
        Value::Array(items) => items.as_slice(),
        single => std::slice::from_ref(single),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether a path segment means this or the upper level, in any spelling.
pub(super) fn is_dots(segment: &str) -> bool {
    let plain = segment.to_ascii_lowercase().replace("%2e", ".");
    plain == "." || plain == ".."
}

/// Everything but unreserved characters, so that no argument leaves its segment.
fn push_encoded(text: &mut String, value: &str) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
}

fn decoded(text: &str) -> String {
    let pair = url::form_urlencoded::parse(text.as_bytes()).next();
    // A fixed `=` or `&` is written encoded, so that there is one pair, and all of it the key.
    pair.map(
        |(key, value)| if value.is_empty() { key.into_owned() } else { format!("{key}={value}") },
    )
    .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn rendered(config: Value, arguments: &Value) -> Result<(String, String), String> {
        let config: HttpConfig = serde_json::from_value(config).unwrap();
        let rendered = render(&config, arguments.as_object().unwrap())?;
        Ok((rendered.url.into(), String::from_utf8(rendered.body.to_vec()).unwrap()))
    }

    #[test]
    fn arguments_are_encoded_for_their_place() {
        let url =
            "https://h.example/a/{id}/b?fixed=1%202&q={q}&mixed=x-{q}&gone={none}&all={list}&flag";
        let arguments =
            json!({ "id": "x/../y?z#é", "q": "a&b=c d", "list": [1, "two"], "other": true });

        let (url, body) = rendered(json!({ "url": url }), &arguments).unwrap();

        assert_eq!(
            url,
            "https://h.example/a/x%2F..%2Fy%3Fz%23%C3%A9/b?fixed=1+2&q=a%26b%3Dc+d&mixed=x-a%26b%3Dc+d\
             &all=1&all=two&flag=&other=true"
        );
        assert_eq!(body, "");
    }

    #[test]
    fn a_body_is_the_template_or_the_rest_of_the_arguments() {
        let arguments = json!({ "id": 7, "name": "n", "tags": ["a"] });
        let post = json!({ "method": "POST", "url": "https://h.example/{id}" });

        let (_, rest) = rendered(post.clone(), &arguments).unwrap();
        let mut with_body = post;
        with_body["body"] = json!({ "item": { "name": "{name}", "tags": "{tags}" } });
        let (_, filled) = rendered(with_body, &arguments).unwrap();

        assert_eq!(rest, r#"{"name":"n","tags":["a"]}"#);
        assert_eq!(filled, r#"{"item":{"name":"n","tags":["a"]}}"#);
    }

    #[test]
    fn what_is_optional_and_missing_is_left_out() {
        let config = json!({ "method": "POST", "url": "https://h.example/x?a={a}", "body": "{body}",
            "headers": { "X-Opt": "{opt}", "X-Both": "v{opt}" } });
        let config: HttpConfig = serde_json::from_value(config).unwrap();

        let rendered = render(&config, json!({}).as_object().unwrap()).unwrap();

        assert_eq!((rendered.url.as_str(), rendered.body.len()), ("https://h.example/x", 0));
        assert_eq!(rendered.headers.keys().collect::<Vec<_>>(), ["x-both"]);
    }

    #[test]
    fn forms_and_joined_lists_are_written_as_their_servers_read_them() {
        let config = json!({ "method": "POST", "url": "https://h.example/{ids}?f={f}", "encoding": "form",
            "body": "{body}", "join": { "ids": ",", "f": "|" } });
        let arguments = json!({ "ids": [1, "a/b"], "f": ["x", "y"],
            "body": { "a": "1 & 2", "list": ["x", 2], "gone": null, "deep": { "k": 1 } } });

        let (url, body) = rendered(config, &arguments).unwrap();

        assert_eq!(url, "https://h.example/1%2Ca%2Fb?f=x%7Cy");
        assert_eq!(body, "a=1+%26+2&deep=%7B%22k%22%3A1%7D&list=x&list=2");
    }

    #[test]
    fn a_path_needs_its_arguments_and_cannot_be_led_astray() {
        let config = json!({ "url": "https://h.example/a/{id}" });
        for arguments in
            [json!({}), json!({ "id": "" }), json!({ "id": null }), json!({ "id": ".." })]
        {
            assert!(rendered(config.clone(), &arguments).is_err(), "{arguments}");
        }
        let headers = json!({ "url": "https://h.example/", "headers": { "X-A": "{id}" } });
        assert!(rendered(headers, &json!({ "id": "a\r\nX-B: c" })).is_err());
    }

    proptest! {
        #[test]
        fn no_argument_leaves_its_place(id in ".*", q in ".*") {
            let config = json!({ "url": "https://h.example/a/{id}/z?q={q}" });
            if let Ok((url, _)) = rendered(config, &json!({ "id": id, "q": q })) {
                let url: Url = url.parse().unwrap();
                prop_assert_eq!(url.host_str(), Some("h.example"));
                let segments: Vec<_> = url.path_segments().unwrap().collect();
                prop_assert_eq!((segments.len(), segments[0], segments[2]), (3, "a", "z"));
                prop_assert_eq!(url.query_pairs().collect::<Vec<_>>(), [("q".into(), q.into())]);
            }
        }
    }
}
