//! OpenAI's API over models and agents, so that its clients work unchanged.
//!
//! Errors are problems as everywhere else, with OpenAI's `error` object beside their own fields.

mod ask;
mod chat;
mod chat_agent;
mod chat_model;
mod embed;
mod form;
mod hangup;
mod meter;
mod said;
mod shape;

use axum::{
    body::{Body, to_bytes},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware,
    response::Response,
};
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::App;
use crate::codes;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(chat::create_chat_completion))
        .routes(routes!(embed::create_embeddings))
        .layer(middleware::map_response(with_their_error))
}

/// Whether OpenAI's clients are to ask again by themselves.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// No problem of ours is larger.
const LARGEST: usize = 256 * 1024;

/// Adds OpenAI's form of the error to a problem.
async fn with_their_error(response: Response) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, LARGEST).await.unwrap_or_default();
    let Ok(mut problem) = serde_json::from_slice::<Value>(&bytes) else {
        return Response::from_parts(parts, Body::from(bytes));
    };
    let detail = problem["detail"].as_str().filter(|detail| !detail.is_empty());
    let message = detail.or_else(|| problem["title"].as_str()).unwrap_or_default().to_owned();
    let param = problem["errors"][0]["pointer"].as_str();
    let param = param.map(|pointer| pointer.trim_start_matches('/').replace('/', "."));
    let wrong = problem["errors"][0]["message"].as_str().map(|why| format!("{message}: {why}"));
    problem["error"] = json!({ "message": wrong.unwrap_or(message), "type": kind(status, &problem["code"]), "param": param,
        "code": problem["code"] });
    parts.headers.remove(header::CONTENT_LENGTH);
    // Their clients ask again by themselves, which is of no use when all is used up.
    let over = problem["code"] == codes::BUDGET_EXHAUSTED.name;
    if over && !parts.headers.contains_key(header::RETRY_AFTER) {
        parts.headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    Response::from_parts(parts, Body::from(problem.to_string()))
}

fn kind(status: StatusCode, code: &Value) -> &'static str {
    match status {
        // As OpenAI's own: their clients know that it is of no use to ask again and again.
        _ if code == codes::BUDGET_EXHAUSTED.name => "insufficient_quota",
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    }
}
