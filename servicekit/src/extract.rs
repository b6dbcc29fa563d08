//! Bodies, queries and paths that answer with problems when they are refused.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request, rejection::BytesRejection},
    http::{StatusCode, header, request::Parts},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{FieldError, Problem, codes};

/// A JSON body. 400 with line and column when it is not JSON, 422 with a pointer when it does not fit, 413 when it is too
/// large, 415 when it says it is something else.
#[derive(Clone, Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        check_content_type(&request)?;
        let bytes = Bytes::from_request(request, state).await.map_err(too_large_or_cut)?;
        from_slice(&bytes).map(Self)
    }
}

/// Reads a thing from JSON text, with the errors of [`Body`].
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
    from_value(value)
}

/// Reads a thing from a JSON value; what does not fit is named by its pointer.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(refused)
}

/// 422 naming the place of what does not fit.
#[allow(clippy::needless_pass_by_value, reason = "as map_err has it")]
fn refused<E: std::fmt::Display>(error: serde_path_to_error::Error<E>) -> Problem {
    let pointer = pointer(error.path());
    Problem::validation(vec![FieldError::new(pointer, error.inner().to_string())])
}

/// 400 naming the place where the text stops being JSON.
pub fn malformed(error: &serde_json::Error) -> Problem {
    let place = format!("not JSON at line {}, column {}: {error}", error.line(), error.column());
    Problem::new(&codes::MALFORMED_JSON, place)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(format!("/{index}")),
            Segment::Map { key } => Some(format!("/{}", key.replace('~', "~0").replace('/', "~1"))),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

fn check_content_type(request: &Request) -> Result<(), Problem> {
    let Some(value) = request.headers().get(header::CONTENT_TYPE) else { return Ok(()) };
    let text = value.to_str().unwrap_or_default();
    let kind = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" || kind.ends_with("+json") {
        return Ok(());
    }
    Err(Problem::new(
        &codes::UNSUPPORTED_MEDIA_TYPE,
        format!("send application/json, not `{kind}`"),
    ))
}

/// Why a raw body could not be read: over the limit, or cut off.
pub fn too_large_or_cut(rejection: BytesRejection) -> Problem {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        Problem::new(&codes::PAYLOAD_TOO_LARGE, "the body is larger than this route takes")
    } else {
        Problem::new(&codes::MALFORMED_REQUEST, "the body could not be read to its end")
    }
}

/// The query string; 422 when it does not fit.
#[derive(Clone, Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        let query = serde_urlencoded::Deserializer::new(pairs);
        serde_path_to_error::deserialize(query).map(Self).map_err(refused)
    }
}

/// The parameters of the path; what cannot be an id names nothing, so it is 404.
#[derive(Clone, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    #[allow(clippy::disallowed_types, reason = "this is the house extractor around axum's")]
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|found| Self(found.0))
            .map_err(|rejection| Problem::new(&codes::NOT_FOUND, rejection.body_text()))
    }
}
