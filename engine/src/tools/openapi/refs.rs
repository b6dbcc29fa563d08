//! `$ref`: within the document only. What another document says is not read.

use serde_json::Value;

/// A chain of references longer than this leads nowhere.
const LONGEST_CHAIN: usize = 16;

#[derive(Clone, Copy, Debug)]
pub(super) struct Refs<'a> {
    document: &'a Value,
}

impl<'a> Refs<'a> {
    pub(super) fn new(document: &'a Value) -> Self {
        Self { document }
    }

    /// What is meant: the value itself, or what it refers to in the end.
    pub(super) fn resolve(self, value: &'a Value) -> Result<&'a Value, String> {
        let mut value = value;
        for _ in 0..LONGEST_CHAIN {
            match value.get("$ref").and_then(Value::as_str) {
                None => return Ok(value),
                Some(reference) => value = self.find(reference)?,
            }
        }
        Err("a chain of `$ref` that does not end".into())
    }

    /// The same for a value of shorter life, without complaint.
    pub(super) fn resolve_any<'v>(self, value: &'v Value) -> &'v Value
    where
        'a: 'v,
    {
        let reference = value.get("$ref").and_then(Value::as_str);
        let found = reference.and_then(|reference| self.find(reference).ok());
        found.map_or(value, |found| self.resolve(found).unwrap_or(found))
    }

    /// What one reference leads to.
    pub(super) fn find(self, reference: &str) -> Result<&'a Value, String> {
        let Some(pointer) = reference.strip_prefix('#') else {
            return Err(format!("`{reference}` is in another document"));
        };
        // A pointer in a URL is percent-encoded.
        let pointer = percent_decoded(pointer);
        self.document.pointer(&pointer).ok_or_else(|| format!("`{reference}` leads nowhere"))
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = match (first, tail) {
            (b'%', [a, b, ..]) => {
                std::str::from_utf8(&[*a, *b]).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok())
            }
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
