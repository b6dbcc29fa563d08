//! The secret itself: an object of fields, wiped when dropped, never printed.

use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Map, Value};
use shared_models::FieldError;
use zeroize::{Zeroize as _, Zeroizing};

use crate::Error;

/// The largest secret, in bytes of JSON.
pub(crate) const LARGEST: usize = 64 * 1024;

/// Values at least this long show their last four characters in the mask.
const LONG: usize = 12;

/// The fields of a credential in plaintext.
#[derive(Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub(crate) struct Fields(Map<String, Value>);

impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fields({} hidden)", self.0.len())
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        self.0.values_mut().for_each(wipe);
    }
}

impl<'de> Deserialize<'de> for Fields {
    /// Written by hand because serde's own message for a value of the wrong type quotes the value.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(mut other) => {
                wipe(&mut other);
                Err(D::Error::custom("must be an object"))
            }
            Err(_) => Err(D::Error::custom("must be an object")),
        }
    }
}

impl Fields {
    /// Says what is wrong with the fields, as far as that does not depend on the type.
    pub(crate) fn check(&self, errors: &mut Vec<FieldError>) {
        if self.0.is_empty() {
            errors.push(FieldError::new("/credentials", "must have at least one field"));
        }
        for name in self.0.keys() {
            if name.is_empty() || name.len() > 200 || name.contains('\0') {
                let message = "field names are 1 to 200 bytes without NUL";
                errors.push(FieldError::new("/credentials", message));
            }
        }
    }

    /// A field as text, if it is a text that is not empty, or a number.
    pub(crate) fn text(&self, name: &str) -> Option<SecretString> {
        match self.0.get(name)? {
            Value::String(text) if !text.is_empty() => Some(text.as_str().into()),
            Value::Number(number) => Some(number.to_string().into()),
            _ => None,
        }
    }

    /// Every text in it, however deep, to be cut out of what is shown.
    pub(crate) fn texts(&self) -> Vec<SecretString> {
        let mut found = Vec::new();
        self.0.values().for_each(|value| collect(value, &mut found));
        found
    }

    /// Sets a field to a text.
    pub(crate) fn set(&mut self, name: &str, text: &str) {
        if let Some(mut old) = self.0.insert(name.to_owned(), Value::String(text.to_owned())) {
            wipe(&mut old);
        }
    }

    /// Takes a field away.
    pub(crate) fn remove(&mut self, name: &str) {
        if let Some(mut old) = self.0.remove(name) {
            wipe(&mut old);
        }
    }

    /// Takes every field away but this one.
    #[must_use]
    pub(crate) fn only(mut self, name: &str) -> Self {
        let others: Vec<String> = self.0.keys().filter(|key| *key != name).cloned().collect();
        for other in &others {
            self.remove(other);
        }
        self
    }

    /// No fields.
    pub(crate) fn none() -> Self {
        Self(Map::new())
    }

    /// Shows the fields as one value, which is wiped afterwards.
    pub(crate) fn with_value(&self, look: impl FnOnce(&Value)) {
        let mut value = Value::Object(self.0.clone());
        look(&value);
        wipe(&mut value);
    }

    /// The fields as bytes to seal.
    pub(crate) fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let bytes = serde_json::to_vec(&self.0).map(Zeroizing::new).map_err(anyhow::Error::from)?;
        if bytes.len() > LARGEST { Err(Error::TooLarge) } else { Ok(bytes) }
    }

    /// What [`Fields::to_bytes`] wrote.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        // The parser's message could quote what it read.
        let fields = serde_json::from_slice(bytes);
        fields
            .map(Self)
            .map_err(|_| Error::Internal(anyhow::anyhow!("an opened secret is not an object")))
    }

    /// What people may see: the fields' names, and of long texts the last four characters.
    pub(crate) fn mask(&self) -> Value {
        self.0.iter().map(|(name, value)| (name.clone(), Value::String(masked(value)))).collect()
    }
}

fn masked(value: &Value) -> String {
    const HIDDEN: &str = "••••";
    match value {
        Value::String(text) if text.chars().count() >= LONG => {
            let (at, _) = text.char_indices().rev().nth(3).unwrap_or_default();
            // NUL cannot be stored in jsonb.
            format!("{HIDDEN}{}", text[at..].replace('\0', "·"))
        }
        _ => HIDDEN.to_owned(),
    }
}

fn collect(value: &Value, found: &mut Vec<SecretString>) {
    match value {
        Value::String(text) => found.push(text.as_str().into()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Overwrites every text in a value.
pub(crate) fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> Fields {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_mask_shows_names_and_the_end_of_long_texts_only() {
        let fields = fields(json!({
            "token": "ghp_0123456789", "eleven": "12345678901", "twelve": "12345678901ü",
            "port": 123_456_789_012_i64, "nested": { "key": "0123456789abcdef" }, "flag": true,
        }));

        assert_eq!(
            fields.mask(),
            json!({
                "token": "••••6789", "eleven": "••••", "twelve": "••••901ü",
                "port": "••••", "nested": "••••", "flag": "••••",
            })
        );
    }

    #[test]
    fn neither_debug_output_nor_errors_show_a_value() {
        let shown = format!("{:?}", fields(json!({ "token": "s3cr3t" })));
        let refused = serde_json::from_value::<Fields>(json!("s3cr3t")).unwrap_err().to_string();

        assert_eq!(shown, "Fields(1 hidden)");
        assert_eq!(refused, "must be an object");
    }

    #[test]
    fn too_large_a_secret_is_refused() {
        let bytes = |size| fields(json!({ "a": "x".repeat(size) })).to_bytes().map(|b| b.len());

        assert_eq!(bytes(LARGEST - 8).unwrap(), LARGEST);
        assert!(matches!(bytes(LARGEST - 7), Err(Error::TooLarge)));
    }
}
