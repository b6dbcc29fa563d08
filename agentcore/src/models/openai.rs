//! Any service that speaks OpenAI's `chat/completions`: OpenAI itself, Ollama, vLLM and many more.
//!
//! Asks for a stream and also takes a plain JSON reply. The key is sent as a bearer token and shown nowhere else: it
//! is cut out of error messages too, for servers that echo what they were sent.

mod assemble;
mod errors;
mod request;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use eventsource_stream::{EventStream, EventStreamError};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use self::assemble::Assembler;
use self::errors::{explain, fit_to_show, in_answer, in_transport};
use self::request::body;
use crate::model::{Model, ModelError, ModelEvent, ModelRequest};

/// More than any real reply; keeps a server gone mad from filling our memory.
const LONGEST_ANSWER: usize = 16 * 1024 * 1024;
const LONGEST_ERROR: usize = 64 * 1024;

#[derive(Clone)]
pub struct OpenAi {
    http: reqwest::Client,
    url: Url,
    key: Option<SecretString>,
    patience: Duration,
}

impl OpenAi {
    pub const NAME: &'static str = "openai";
    /// The `base_url` of OpenAI itself.
    pub const BASE_URL: &'static str = "https://api.openai.com/v1";

    /// `base_url` is what comes before `/chat/completions`. Whom `http` may reach is the caller's business.
    pub fn new(http: reqwest::Client, base_url: Url, key: Option<SecretString>) -> Self {
        let mut url = base_url;
        // A URL without a path cannot be called either; the first call says so.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["chat", "completions"]);
        }
        Self { http, url, key, patience: Duration::from_secs(120) }
    }

    /// How long the server may be silent, at the start and between two pieces; two minutes unless told otherwise.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    fn post(&self, request: &ModelRequest) -> RequestBuilder {
        let post = self.http.post(self.url.clone()).header(ACCEPT, "text/event-stream");
        let post = post.json(&body(request, &self.url));
        match &self.key {
            Some(key) => post.bearer_auth(key.expose_secret()),
            None => post,
        }
    }

    async fn open(self, request: ModelRequest) -> Result<Answering, ModelError> {
        let sent = tokio::time::timeout(self.patience, self.post(&request).send()).await;
        let response = sent.map_err(|_| silent(self.patience))?.map_err(in_transport)?;
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        if is_json(&response) {
            return self.whole(response).await;
        }
        Ok(Answering::Streaming(Box::new(Stream {
            data: sse(response),
            assembler: Assembler::default(),
            patience: self.patience,
        })))
    }

    async fn refusal(&self, response: Response) -> ModelError {
        let (status, headers) = (response.status(), response.headers().clone());
        let reading = read(response, LONGEST_ERROR);
        let body = tokio::time::timeout(self.patience, reading).await;
        // A status without a readable body is still worth more than a failure to read.
        let body = body.ok().and_then(Result::ok).unwrap_or_default();
        explain(status, &headers, &String::from_utf8_lossy(&body))
    }

    async fn whole(&self, response: Response) -> Result<Answering, ModelError> {
        let reading = read(response, LONGEST_ANSWER);
        let body = tokio::time::timeout(self.patience, reading).await;
        let body = body.map_err(|_| silent(self.patience))??;
        let mut events = VecDeque::new();
        let mut assembler = Assembler::default();
        events.extend(assembler.push_whole(&String::from_utf8_lossy(&body))?);
        events.push_back(ModelEvent::Done(assembler.finish()?));
        Ok(Answering::Whole(events))
    }
}

impl Model for OpenAi {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let key = self.key.clone();
        let opening = self.clone().open(request).boxed();
        let events = stream::unfold(State::Opening(opening), State::next);
        events.map_err(move |error| fit_to_show(error, key.as_ref())).boxed()
    }
}

impl fmt::Debug for OpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.url.host_str().unwrap_or_default();
        f.debug_struct("OpenAi").field("host", &host).finish_non_exhaustive()
    }
}

enum Answering {
    Streaming(Box<Stream>),
    Whole(VecDeque<ModelEvent>),
}

enum State {
    Opening(BoxFuture<'static, Result<Answering, ModelError>>),
    Streaming(Box<Stream>, VecDeque<ModelEvent>),
    /// What is left to say; nothing comes after it.
    Ending(VecDeque<ModelEvent>),
}

impl State {
    async fn next(mut self) -> Option<(Result<ModelEvent, ModelError>, Self)> {
        loop {
            self = match self {
                Self::Opening(opening) => match opening.await {
                    Ok(Answering::Streaming(stream)) => Self::Streaming(stream, VecDeque::new()),
                    Ok(Answering::Whole(events)) => Self::Ending(events),
                    Err(error) => return Some((Err(error), Self::Ending(VecDeque::new()))),
                },
                Self::Streaming(mut stream, mut events) => {
                    if let Some(event) = events.pop_front() {
                        return Some((Ok(event), Self::Streaming(stream, events)));
                    }
                    match stream.more().await {
                        Ok(Some(events)) => Self::Streaming(stream, events.into()),
                        Ok(None) => match stream.assembler.finish() {
                            Ok(reply) => Self::Ending([ModelEvent::Done(reply)].into()),
                            Err(error) => return Some((Err(error), Self::Ending(VecDeque::new()))),
                        },
                        Err(error) => return Some((Err(error), Self::Ending(VecDeque::new()))),
                    }
                }
                Self::Ending(mut events) => {
                    let event = events.pop_front()?;
                    return Some((Ok(event), Self::Ending(events)));
                }
            }
        }
    }
}

struct Stream {
    data: BoxStream<'static, Result<String, ModelError>>,
    assembler: Assembler,
    patience: Duration,
}

impl Stream {
    /// The next deltas, none at the end.
    async fn more(&mut self) -> Result<Option<Vec<ModelEvent>>, ModelError> {
        let data = match tokio::time::timeout(self.patience, self.data.next()).await {
            Ok(None) => return Ok(None),
            Ok(Some(Ok(data))) if data.trim() == "[DONE]" => {
                self.assembler.done();
                return Ok(None);
            }
            Ok(Some(Ok(data))) => data,
            // The reply is complete and paid for: what breaks behind it can only cost us the usage.
            Ok(Some(Err(_))) | Err(_) if self.assembler.is_complete() => return Ok(None),
            Ok(Some(Err(error))) => return Err(error),
            Err(_) => return Err(silent(self.patience)),
        };
        self.assembler.push(&data).map(Some)
    }
}

/// The `data` of each server-sent event.
fn sse(response: Response) -> BoxStream<'static, Result<String, ModelError>> {
    let mut length = 0_usize;
    let bytes = response.bytes_stream().map_err(in_answer).and_then(move |chunk| {
        // eventsource-stream panics on a byte order mark, which is nothing but decoration.
        let chunk = match chunk.strip_prefix(b"\xef\xbb\xbf") {
            Some(rest) if length == 0 => chunk.slice_ref(rest),
            _ => chunk,
        };
        length = length.saturating_add(chunk.len());
        let too_long = || ModelError::Malformed { message: "the answer has no end".into() };
        std::future::ready(if length > LONGEST_ANSWER { Err(too_long()) } else { Ok(chunk) })
    });
    // The empty line is for a mark split over two chunks: only the very first character is looked at.
    let bytes = stream::once(std::future::ready(Ok("\n".into()))).chain(bytes);
    let events = EventStream::new(bytes).map_ok(|event| event.data).map_err(|error| match error {
        EventStreamError::Transport(error) => error,
        EventStreamError::Utf8(_) => ModelError::Malformed { message: "not UTF-8".into() },
        EventStreamError::Parser(_) => {
            ModelError::Malformed { message: "not an event stream".into() }
        }
    });
    events.boxed()
}

async fn read(response: Response, limit: usize) -> Result<Vec<u8>, ModelError> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk.map_err(in_answer)?);
        if body.len() > limit {
            return Err(ModelError::Malformed { message: "the answer has no end".into() });
        }
    }
    Ok(body)
}

fn is_json(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.trim_start().starts_with("application/json"))
}

fn silent(patience: Duration) -> ModelError {
    let message = format!("no answer for {patience:?}");
    ModelError::Transient { status: None, message, retry_after: None }
}
