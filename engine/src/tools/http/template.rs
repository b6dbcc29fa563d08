//! Texts with `{name}` in them.

use serde_json::{Map, Value};
use url::Url;

/// A piece of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    /// The argument of this name.
    Argument(&'a str),
}

/// Takes a text apart. Braces around anything but a name are ordinary text.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let (mut pieces, mut plain, mut from) = (Vec::new(), 0, 0);
    while let Some(open) = text.get(from..).and_then(|rest| rest.find('{')).map(|at| from + at) {
        let name = text.get(open + 1..).and_then(|rest| rest.split_once('}')).map(|(name, _)| name);
        match name.filter(|name| is_name(name)) {
            Some(name) => {
                pieces.extend(text.get(plain..open).filter(|t| !t.is_empty()).map(Piece::Text));
                pieces.push(Piece::Argument(name));
                from = open + name.len() + 2;
                plain = from;
            }
            None => from = open + 1,
        }
    }
    pieces.extend(text.get(plain..).filter(|t| !t.is_empty()).map(Piece::Text));
    pieces
}

/// The names in a text.
pub(super) fn names(text: &str) -> impl Iterator<Item = &str> {
    pieces(text).into_iter().filter_map(|piece| match piece {
        Piece::Argument(name) => Some(name),
        Piece::Text(_) => None,
    })
}

/// The names anywhere in a JSON template.
pub(super) fn names_in(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => names(text).collect(),
        Value::Array(items) => items.iter().flat_map(names_in).collect(),
        Value::Object(fields) => fields.values().flat_map(names_in).collect(),
        _ => Vec::new(),
    }
}

/// Splits a URL template into what comes before the path, which is fixed, and the rest.
pub(super) fn split(url: &str) -> Option<(&str, &str)> {
    let start = url.find("://")? + 3;
    let end = url.get(start..)?.find(['/', '?', '#', '\\']).map_or(url.len(), |at| start + at);
    Some((url.get(..end)?, url.get(end..)?))
}

/// The fixed part of a URL template: scheme, host and port.
pub(super) fn base_of(url: &str) -> Option<Url> {
    let (base, _) = split(url)?;
    base.parse().ok()
}

/// The argument as text, none when it is missing.
pub(super) fn text_of(arguments: &Map<String, Value>, name: &str) -> Option<String> {
    match arguments.get(name)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Fills a JSON template. A member or item that is only a missing argument is left out.
pub(super) fn fill(template: &Value, arguments: &Map<String, Value>) -> Option<Value> {
    Some(match template {
        Value::String(text) => match pieces(text).as_slice() {
            [Piece::Argument(name)] => arguments.get(*name)?.clone(),
            pieces => Value::String(fill_text(pieces, arguments)),
        },
        Value::Array(items) => items.iter().filter_map(|item| fill(item, arguments)).collect(),
        Value::Object(fields) => {
            let filled = fields
                .iter()
                .filter_map(|(key, field)| Some((key.clone(), fill(field, arguments)?)));
            Value::Object(filled.collect())
        }
        other => other.clone(),
    })
}

/// Fills a text; a missing argument leaves nothing.
pub(super) fn fill_text(pieces: &[Piece<'_>], arguments: &Map<String, Value>) -> String {
    let filled = pieces.iter().map(|piece| match piece {
        Piece::Text(text) => (*text).to_owned(),
        Piece::Argument(name) => text_of(arguments, name).unwrap_or_default(),
    });
    filled.collect()
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        Piece::{Argument, Text},
        *,
    };

    #[test]
    fn only_names_in_braces_are_arguments() {
        let table = [
            ("/a/{id}/b", vec![Text("/a/"), Argument("id"), Text("/b")]),
            ("{a}{b}", vec![Argument("a"), Argument("b")]),
            ("{}{ x }{\"a\":1}", vec![Text("{}{ x }{\"a\":1}")]),
            ("{{a}}", vec![Text("{"), Argument("a"), Text("}")]),
            ("é{ö", vec![Text("é{ö")]),
            ("", vec![]),
        ];
        for (text, expected) in table {
            assert_eq!(pieces(text), expected, "{text}");
        }
    }

    #[test]
    fn a_template_takes_whole_arguments_and_texts() {
        let template = json!({ "to": "{who}", "text": "Hi {who}, {n} of {missing}!", "n": "{n}",
            "none": "{missing}", "list": ["{n}", "{missing}", 3] });
        let arguments = json!({ "who": "Ada", "n": 2 });

        let filled = fill(&template, arguments.as_object().unwrap()).unwrap();

        assert_eq!(
            filled,
            json!({ "to": "Ada", "text": "Hi Ada, 2 of !", "n": 2, "list": [2, 3] })
        );
    }
}
