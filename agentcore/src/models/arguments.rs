//! A model's arguments, for providers that want them back as an object.

use std::borrow::Cow;

use serde_json::value::{RawValue, to_raw_value};
use serde_json::{from_str, json};

use super::errors::unwritable;
use crate::model::ModelError;

/// The arguments as they were written, if they are an object. What is none is shown as the text it was: the model is to
/// see what it did wrong.
pub(super) fn as_object(arguments: &str) -> Result<Cow<'_, RawValue>, ModelError> {
    let trimmed = arguments.trim();
    let wrapped = match from_str::<&RawValue>(trimmed) {
        Ok(raw) if raw.get().starts_with('{') => return Ok(Cow::Borrowed(raw)),
        _ if trimmed.is_empty() => json!({}),
        _ => json!({ "unreadable": arguments }),
    };
    to_raw_value(&wrapped).map(Cow::Owned).map_err(unwritable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_an_object_whatever_the_model_wrote() {
        let table = [
            (r#" {"a": 1} "#, r#"{"a": 1}"#),
            ("", "{}"),
            ("[1]", r#"{"unreadable":"[1]"}"#),
            ("{oops", r#"{"unreadable":"{oops"}"#),
        ];
        for (arguments, expected) in table {
            assert_eq!(as_object(arguments).unwrap().get(), expected);
        }
    }
}
