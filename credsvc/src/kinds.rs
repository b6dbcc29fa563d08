//! The types a credential can have, and what each needs.

use servicekit::FieldError;

use crate::fields::Fields;

/// The type of a credential that does not say one: any fields.
pub(crate) const GENERIC: &str = "generic";

/// Type and the text fields it cannot do without. More fields are always allowed.
const KINDS: &[(&str, &[&str])] = &[
    (GENERIC, &[]),
    ("http_bearer", &["token"]),
    ("http_basic", &["username", "password"]),
    ("openai_api", &["api_key"]),
];

/// Says what is wrong with the type, or with the fields for the type.
pub(crate) fn check(kind: &str, fields: &Fields, errors: &mut Vec<FieldError>) {
    let Some((_, required)) = KINDS.iter().find(|(name, _)| *name == kind) else {
        let known: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
        errors.push(FieldError::new("/type", format!("must be one of {}", known.join(", "))));
        return;
    };
    for field in required.iter().filter(|field| !fields.has_text(field)) {
        let pointer = format!("/credentials/{field}");
        errors
            .push(FieldError::new(pointer, format!("a credential of type {kind} needs this text")));
    }
}
