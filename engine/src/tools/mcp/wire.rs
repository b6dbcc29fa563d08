//! How messages reach a server: HTTP through the egress client.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream::BoxStream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use reqwest::Response;
use rmcp::{
    ServiceError,
    model::{ClientJsonRpcMessage, ClientRequest, ErrorData, ServerJsonRpcMessage},
    transport::streamable_http_client::{
        SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
    },
};
use servicekit::egress::{Egress, Injection, Redactor};
use sse_stream::{Sse, SseStream};
use url::Url;

use super::Session;
use crate::toolbox::Outcome;

/// The longest answer that is not a stream, and the longest stream of answers.
const MOST_BYTES: usize = 8 * 1024 * 1024;
const MOST_ERROR_BYTES: usize = 16 * 1024;
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// Why a message did not come through.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// Nothing has left.
    #[error("{0}")]
    NotSent(String),
    /// The server answered, with something else than an answer.
    #[error("{1}")]
    Refused(StatusCode, String),
    /// What became of it is not known.
    #[error("{0}")]
    Unknown(String),
}

type Failed = StreamableHttpError<WireError>;

/// The way to one server with one credential.
#[derive(Clone)]
pub(super) struct Wire {
    egress: Egress,
    /// Fetched anew for each call, so that what was revoked is not sent again.
    injection: Arc<RwLock<Option<Injection>>>,
}

impl Wire {
    pub(super) fn new(egress: &Egress) -> Self {
        Self { egress: egress.clone(), injection: Arc::default() }
    }

    pub(super) fn inject(&self, injection: Option<Injection>) {
        *self.injection.write().unwrap_or_else(PoisonError::into_inner) = injection;
    }

    fn injection(&self) -> Option<Injection> {
        self.injection.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn redactor(&self) -> Redactor {
        self.injection().as_ref().map(Injection::redactor).unwrap_or_default()
    }

    async fn ask(
        &self,
        method: Method,
        uri: &str,
        mut headers: HeaderMap,
        session: Option<&str>,
        body: Option<Vec<u8>>,
    ) -> Result<Response, Failed> {
        let not_sent = |why: String| StreamableHttpError::Client(WireError::NotSent(why));
        let mut url: Url = uri.parse().map_err(|error| not_sent(format!("not a URL: {error}")))?;
        let client = self.egress.client_for(&url).map_err(|error| not_sent(error.to_string()))?;
        if let Some(session) = session {
            let value = HeaderValue::from_str(session);
            headers.insert(SESSION, value.map_err(|error| not_sent(error.to_string()))?);
        }
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("application/json, text/event-stream"),
        );
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(injection) = self.injection() {
            injection
                .put_on(&mut url, &mut headers)
                .map_err(|error| not_sent(error.to_string()))?;
        }
        let mut request = client.request(method, url).headers(headers);
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body);
        }
        request.send().await.map_err(|error| {
            let failed = if error.is_connect() || error.is_builder() {
                WireError::NotSent
            } else {
                WireError::Unknown
            };
            let text = format!("{:#}", anyhow::Error::from(error.without_url()));
            StreamableHttpError::Client(failed(self.redactor().text(&text)))
        })
    }

    async fn refusal(&self, response: Response) -> Failed {
        let status = response.status();
        let body = read(response, MOST_ERROR_BYTES).await.unwrap_or_default();
        let body = self.redactor().text(&String::from_utf8_lossy(&body));
        StreamableHttpError::Client(WireError::Refused(status, format!("HTTP {status}: {body}")))
    }

    /// The events of a stream, each without the secret.
    fn events(&self, response: Response) -> BoxStream<'static, Result<Sse, SseError>> {
        let redactor = self.redactor();
        let events = SseStream::from_bytes_stream(bounded(response.bytes_stream()));
        events
            .map(move |event| {
                let mut event = event?;
                event.data = event.data.map(|data| redactor.text(&data));
                Ok(event)
            })
            .boxed()
    }
}

impl StreamableHttpClient for Wire {
    type Error = WireError;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let headers = custom_headers.into_iter().collect();
        let body = serde_json::to_vec(&message)?;
        let response =
            self.ask(Method::POST, &uri, headers, session_id.as_deref(), Some(body)).await?;
        let status = response.status();
        if matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        if status == StatusCode::NOT_FOUND && session_id.is_some() {
            return Err(StreamableHttpError::SessionExpired);
        }
        let wants_answer = matches!(message, ClientJsonRpcMessage::Request(_));
        if !status.is_success() {
            let failed = self.refusal(response).await;
            return probed(&message, session_id.is_some(), status, &failed).ok_or(failed);
        }
        let session = response.headers().get(SESSION).and_then(|value| value.to_str().ok());
        let session = session.map(str::to_owned);
        let kind = response.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
        if kind.starts_with("text/event-stream") {
            return Ok(StreamableHttpPostResponse::Sse(self.events(response), session));
        }
        let body = read(response, MOST_BYTES).await?;
        if !wants_answer {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        if !kind.starts_with("application/json") {
            return Err(StreamableHttpError::UnexpectedContentType(Some(kind)));
        }
        let text = self.redactor().bytes(body);
        let answer = serde_json::from_slice::<ServerJsonRpcMessage>(&text);
        let answer = answer.map_err(|error| {
            StreamableHttpError::UnexpectedServerResponse(Cow::Owned(format!(
                "not JSON-RPC: {error}"
            )))
        })?;
        Ok(StreamableHttpPostResponse::Json(answer, session))
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Failed> {
        let headers = custom_headers.into_iter().collect();
        self.ask(Method::DELETE, &uri, headers, Some(&session_id), None).await.map(drop)
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Failed> {
        let mut headers: HeaderMap = custom_headers.into_iter().collect();
        if let Some(last) = last_event_id.and_then(|last| HeaderValue::from_str(&last).ok()) {
            headers.insert(LAST_EVENT, last);
        }
        let response = self.ask(Method::GET, &uri, headers, session_id.as_deref(), None).await?;
        match response.status() {
            StatusCode::METHOD_NOT_ALLOWED => Err(StreamableHttpError::ServerDoesNotSupportSse),
            StatusCode::NOT_FOUND if session_id.is_some() => {
                Err(StreamableHttpError::SessionExpired)
            }
            status if status.is_success() => Ok(self.events(response)),
            _ => Err(self.refusal(response).await),
        }
    }
}

/// An older server does not know the question which protocol it speaks. Whatever it says instead of an answer means no.
fn probed(
    message: &ClientJsonRpcMessage,
    in_session: bool,
    status: StatusCode,
    failed: &Failed,
) -> Option<StreamableHttpPostResponse> {
    let ClientJsonRpcMessage::Request(request) = message else { return None };
    let is_probe = matches!(request.request, ClientRequest::DiscoverRequest(_));
    let secret = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    if in_session || !is_probe || !status.is_client_error() || secret {
        return None;
    }
    let error = ErrorData::invalid_request(failed.to_string(), None);
    let answer = ServerJsonRpcMessage::error(error, Some(request.id.clone()));
    Some(StreamableHttpPostResponse::Json(answer, None))
}

/// The bytes of a stream, as far as it is worth listening.
fn bounded(
    bytes: impl Stream<Item = Result<Bytes, reqwest::Error>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
    let mut heard = 0;
    bytes.map(move |chunk| {
        let chunk = chunk.map_err(|error| std::io::Error::other(error.without_url()))?;
        heard += chunk.len();
        if heard > MOST_BYTES {
            return Err(std::io::Error::other("the server says more than 8 MiB"));
        }
        Ok(chunk)
    })
}

async fn read(mut response: Response, limit: usize) -> Result<Vec<u8>, Failed> {
    let mut body = Vec::new();
    loop {
        let chunk = response.chunk().await.map_err(|error| {
            StreamableHttpError::Client(WireError::Unknown(error.without_url().to_string()))
        })?;
        let Some(chunk) = chunk else { return Ok(body) };
        if body.len() + chunk.len() > limit {
            return Err(StreamableHttpError::ResponseBodyTooLarge { max_size: limit });
        }
        body.extend_from_slice(&chunk);
    }
}

/// What may have happened when a call came back without an answer.
pub(super) fn sort(session: &Session, error: ServiceError) -> Outcome {
    let text = session.redacted(&error.to_string());
    let ServiceError::TransportSend(transport) = error else { return Outcome::Unknown(text) };
    match transport.error.downcast_ref::<Failed>() {
        Some(StreamableHttpError::Client(WireError::NotSent(why))) => Outcome::Refused(why.clone()),
        // A gateway gave up on the one behind it, which may have done it all the same.
        Some(StreamableHttpError::Client(WireError::Refused(status, why)))
            if !matches!(*status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT) =>
        {
            Outcome::Failed(why.clone())
        }
        Some(StreamableHttpError::SessionExpired) => {
            Outcome::Refused("the server has ended the session".into())
        }
        _ => Outcome::Unknown(text),
    }
}
