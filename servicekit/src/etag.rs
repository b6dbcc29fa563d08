//! Conditional edits (RFC 9110) and JSON Merge Patch (RFC 7396).

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{FieldError, Problem, codes};

/// The entity tag of a version.
pub fn etag(version: i32) -> String {
    format!("\"{version}\"")
}

/// The versions an edit expects; absent or `*` means any.
#[derive(Clone, Debug)]
pub struct IfMatch(Option<Vec<String>>);

impl IfMatch {
    /// Refuses the edit when the present version is not an expected one.
    pub fn check(&self, present: i32) -> Result<(), Problem> {
        match &self.0 {
            Some(tags) if !tags.iter().any(|tag| tag == "*" || *tag == etag(present)) => {
                let detail = format!("the present version is {present}");
                Err(Problem::new(&codes::PRECONDITION_FAILED, detail))
            }
            _ => Ok(()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(header::IF_MATCH) else { return Ok(Self(None)) };
        let text = value
            .to_str()
            .map_err(|_| Problem::new(&codes::MALFORMED_REQUEST, "If-Match is not plain text"))?;
        Ok(Self(Some(text.split(',').map(|tag| tag.trim().to_owned()).collect())))
    }
}

/// Applies a merge patch to the editable form of a thing and reads it back, so that a patch is validated like a new
/// one: `null` removes, unknown fields are refused.
pub fn merge_patch<T: Serialize + DeserializeOwned>(
    current: &T,
    patch: &Value,
) -> Result<T, Problem> {
    if !patch.is_object() {
        return Err(Problem::validation(vec![FieldError::new(
            "",
            "a merge patch is a JSON object",
        )]));
    }
    let mut document = serde_json::to_value(current).map_err(Problem::internal)?;
    json_patch::merge(&mut document, patch);
    crate::extract::from_value(document)
}
