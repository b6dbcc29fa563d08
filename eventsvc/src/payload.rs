//! From the raw body to what agents see: JSON as it is, a form as an object, text as a string.

use serde_json::{Map, Value};
use servicekit::{FieldError, Problem, codes, extract};

/// Reads a verified body by its content type.
pub(crate) fn parse(content_type: Option<&str>, body: &[u8]) -> Result<Value, Problem> {
    let kind = content_type
        .map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let payload = match kind.as_deref() {
        None | Some("") if body.is_empty() => Value::Null,
        None | Some("") => match serde_json::from_slice(body) {
            Ok(value) => value,
            Err(_) => text(body)?,
        },
        Some(kind) if kind == "application/json" || kind.ends_with("+json") => {
            serde_json::from_slice(body).map_err(|error| extract::malformed(&error))?
        }
        Some("application/x-www-form-urlencoded") => form(body),
        Some(kind) if kind.starts_with("text/") => text(body)?,
        Some(kind) => {
            let detail = format!("send JSON, a form or text, not `{kind}`");
            return Err(Problem::new(&codes::UNSUPPORTED_MEDIA_TYPE, detail));
        }
    };
    refuse_nul(body, &payload)?;
    Ok(payload)
}

fn text(body: &[u8]) -> Result<Value, Problem> {
    match std::str::from_utf8(body) {
        Ok(text) => Ok(text.into()),
        Err(error) => {
            let detail = format!("the text is not UTF-8 at byte {}", error.valid_up_to());
            Err(Problem::new(&codes::MALFORMED_REQUEST, detail))
        }
    }
}

/// A name that comes several times becomes a list.
fn form(body: &[u8]) -> Value {
    let mut fields = Map::new();
    for (name, value) in url::form_urlencoded::parse(body) {
        let value = Value::from(value.into_owned());
        match fields.get_mut(name.as_ref()) {
            None => {
                fields.insert(name.into_owned(), value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    fields.into()
}

/// Neither `text` nor `jsonb` holds the character NUL, so it is refused here, by name, and not by a database error.
fn refuse_nul(body: &[u8], payload: &Value) -> Result<(), Problem> {
    // Almost no body has one, and none has one without one of these bytes.
    let possible =
        body.contains(&0) || body.windows(5).any(|five| five == b"u0000") || has_escape(body);
    match possible.then(|| find_nul(payload, "")).flatten() {
        None => Ok(()),
        Some(pointer) => {
            let message = "the character NUL (U+0000) cannot be stored";
            Err(Problem::validation(vec![FieldError::new(pointer, message)]))
        }
    }
}

/// The same without the character that no text in the database can hold, for what comes from where nobody can be told off.
pub(crate) fn without_nul(value: Value) -> Value {
    let clean =
        |text: String| if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text };
    match value {
        Value::String(text) => Value::String(clean(text)),
        Value::Array(all) => all.into_iter().map(without_nul).collect(),
        Value::Object(all) => {
            all.into_iter().map(|(name, value)| (clean(name), without_nul(value))).collect()
        }
        other => other,
    }
}

fn has_escape(body: &[u8]) -> bool {
    body.windows(3).any(|three| three == b"%00")
}

fn find_nul(value: &Value, at: &str) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(|| at.to_owned()),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(n, item)| find_nul(item, &format!("{at}/{n}")))
        }
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            if name.contains('\0') {
                Some(at.to_owned())
            } else {
                find_nul(value, &format!("{at}/{name}"))
            }
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_is_read_by_its_content_type() {
        let table: [(Option<&str>, &str, Value); 8] = [
            (Some("application/json"), r#"{"a":1}"#, json!({ "a": 1 })),
            (Some("application/vnd.api+json; charset=utf-8"), "[1]", json!([1])),
            (
                Some("application/x-www-form-urlencoded"),
                "a=1&b=x+y&a=2",
                json!({ "a": ["1", "2"], "b": "x y" }),
            ),
            (Some("text/plain"), "hello", json!("hello")),
            (Some("TEXT/Plain"), r#"{"a":1}"#, json!(r#"{"a":1}"#)),
            (None, r#"{"a":1}"#, json!({ "a": 1 })),
            (None, "hello", json!("hello")),
            (None, "", json!(null)),
        ];
        for (content_type, body, expected) in table {
            assert_eq!(parse(content_type, body.as_bytes()).unwrap(), expected, "{body}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_name() {
        let table = [
            (Some("application/json"), &b"{\n \"a\": }"[..], "malformed_json", "line 2, column 7"),
            (Some("application/json"), b"", "malformed_json", "line 1, column 0"),
            (Some("text/plain"), b"a\xff", "malformed_request", "byte 1"),
            (Some("image/png"), b"x", "unsupported_media_type", "image/png"),
            (Some("application/json"), br#"{"a":["\u0000"]}"#, "validation_failed", "/a/0"),
            (Some("text/plain"), b"a\0b", "validation_failed", "NUL"),
            (Some("application/x-www-form-urlencoded"), b"a=%00", "validation_failed", "/a"),
        ];
        for (content_type, body, code, detail) in table {
            let problem = parse(content_type, body).unwrap_err();
            assert_eq!(problem.code().name, code);
            assert!(problem.detail().contains(detail), "{}", problem.detail());
        }
    }

    #[test]
    fn the_text_u0000_that_is_no_escape_is_welcome() {
        assert_eq!(parse(None, br#"{"a":"u0000"}"#).unwrap(), json!({ "a": "u0000" }));
    }

    fn kinds() -> impl Strategy<Value = Option<String>> {
        prop::option::of(prop_oneof![
            prop::sample::select(
                &[
                    "application/json",
                    "application/x+json; charset=utf-8",
                    "text/plain",
                    "application/x-www-form-urlencoded",
                    ""
                ][..]
            )
            .prop_map(str::to_owned),
            "[ -~]{0,40}",
        ])
    }

    proptest! {
        #[test]
        fn no_body_breaks_the_reader_and_none_that_is_taken_holds_a_nul(
            kind in kinds(),
            raw in prop::collection::vec(any::<u8>(), 0..60),
            text in "[\\[{\"a-z\\\\u0:&=%,}\\]\u{0}\u{e4} ]{0,60}",
        ) {
            for body in [raw.as_slice(), text.as_bytes()] {
                match parse(kind.as_deref(), body) {
                    Ok(payload) => prop_assert_eq!(find_nul(&payload, ""), None),
                    Err(problem) => prop_assert!((400..=422).contains(&problem.code().status)),
                }
            }
        }

        #[test]
        fn what_is_cleaned_holds_no_nul_and_is_else_as_it_was(text in "[a\u{0}\u{e4}]{0,20}") {
            let cleaned = without_nul(serde_json::json!({ &text: [&text, 7] }));
            prop_assert_eq!(find_nul(&cleaned, ""), None);
            let expected = text.replace('\0', "\u{fffd}");
            prop_assert_eq!(cleaned, serde_json::json!({ &expected: [&expected, 7] }));
        }
    }
}
