//! Values against a type's JSON Schema. What is wrong is said by field, and never quotes a value.

use std::sync::Arc;

use jsonschema::{ValidationError, Validator, error::ValidationErrorKind};
use serde_json::Value;
use servicekit::FieldError;

use crate::fields::Fields;

/// More than this is not said at once.
const MOST: usize = 100;

#[derive(Clone, Debug)]
pub(super) struct Checker(Arc<Validator>);

impl Checker {
    /// References to other documents are refused: nothing is fetched.
    pub(super) fn new(schema: &Value) -> Result<Self, String> {
        jsonschema::options()
            .should_validate_formats(true)
            .build(schema)
            .map(|validator| Self(Arc::new(validator)))
            .map_err(|error| format!("is not a JSON Schema: {}", error.masked()))
    }

    pub(super) fn check(&self, fields: &Fields, errors: &mut Vec<FieldError>) {
        fields.with_value(|value| {
            errors.extend(self.0.iter_errors(value).take(MOST).map(|error| said(&error)));
        });
    }
}

fn said(error: &ValidationError<'_>) -> FieldError {
    let pointer = format!("/credentials{}", error.instance_path().as_str());
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default().replace('~', "~0").replace('/', "~1");
            FieldError::new(format!("{pointer}/{name}"), "is needed by this type")
        }
        ValidationErrorKind::MinLength { limit: 1 } => {
            FieldError::new(pointer, "must not be empty")
        }
        _ => FieldError::new(pointer, error.masked_with("the value").to_string()),
    }
}
