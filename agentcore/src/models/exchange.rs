//! One call over HTTP: sent, and read to its end within limits.

use std::collections::VecDeque;
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{self, BoxStream};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Request, Response};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::errors::{bad_chunk, explain, fit_to_show, in_answer, in_transport, malformed};
use super::limits::Limits;
use super::sse::Sse;
use crate::model::{ModelError, ModelErrorKind, ModelEvent, Reply};

const LONGEST_ERROR: usize = 64 * 1024;
/// How long the end of an answer is waited for that has nothing more to say, so that its connection can be used again.
const LINGER: Duration = Duration::from_secs(1);

/// How one provider spells a reply.
pub(super) trait Protocol: Send + Sync + 'static {
    /// The data of one event of the stream.
    fn take(&mut self, data: &str, events: &mut VecDeque<ModelEvent>) -> Result<(), ModelError>;

    /// A reply in one piece, from a server that does not stream.
    fn take_whole(
        &mut self,
        body: &str,
        events: &mut VecDeque<ModelEvent>,
    ) -> Result<(), ModelError>;

    /// Whether nothing follows, as far as the server has said.
    fn is_over(&self) -> bool;

    /// Whether the model has said that it is finished: what breaks now can only cost us the usage.
    fn is_complete(&self) -> bool;

    /// The reply, if the model finished it.
    fn finish(&mut self) -> Result<Reply, ModelError>;
}

/// A call that is ready to be made.
pub(super) struct Call {
    pub(super) http: Client,
    pub(super) request: Request,
    pub(super) limits: Limits,
    /// Cut out of errors.
    pub(super) key: Option<SecretString>,
}

/// Makes the call when it is first polled.
pub(super) fn exchange<P: Protocol>(
    call: Result<Call, ModelError>,
    protocol: P,
) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
    let call = match call {
        Ok(call) => call,
        Err(error) => return Box::pin(stream::once(std::future::ready(Err(error)))),
    };
    let exchange = Box::new(Exchange {
        stage: Stage::Unsent(call.http, call.request),
        sse: Sse::new(call.limits.line),
        protocol,
        events: VecDeque::new(),
        received: 0,
        limits: call.limits,
        key: call.key,
    });
    Box::pin(stream::unfold(exchange, |mut exchange| async move {
        match exchange.next().await {
            Ok(event) => event.map(|event| (Ok(event), exchange)),
            Err(error) => {
                exchange.stage = Stage::Over;
                let error = fit_to_show(error, exchange.key.as_ref());
                Some((Err(error), exchange))
            }
        }
    }))
}

struct Exchange<P> {
    stage: Stage,
    sse: Sse,
    protocol: P,
    /// What there is to say before anything more is read.
    events: VecDeque<ModelEvent>,
    received: usize,
    limits: Limits,
    key: Option<SecretString>,
}

enum Stage {
    Unsent(Client, Request),
    Reading(Response),
    Over,
}

impl<P: Protocol> Exchange<P> {
    async fn next(&mut self) -> Result<Option<ModelEvent>, ModelError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            match std::mem::replace(&mut self.stage, Stage::Over) {
                Stage::Unsent(http, request) => self.open(http, request).await?,
                Stage::Reading(response) => self.read(response).await?,
                Stage::Over => return Ok(None),
            }
        }
    }

    async fn open(&mut self, http: Client, request: Request) -> Result<(), ModelError> {
        let sent = timeout(self.limits.first_byte, http.execute(request)).await;
        let response = sent.map_err(|_| silent(self.limits.first_byte))?.map_err(in_transport)?;
        if !response.status().is_success() {
            return Err(refusal(response, self.limits).await);
        }
        match kind(&response) {
            Kind::Json => {
                let body = read_whole(response, self.limits.reply, self.limits.idle).await?;
                self.protocol.take_whole(&String::from_utf8_lossy(&body), &mut self.events)?;
                self.end()
            }
            Kind::Page => {
                let page = read_begin(response, self.limits.idle).await;
                Err(malformed(format!("a page of HTML instead of a reply: {}", page.trim())))
            }
            Kind::Stream => {
                self.stage = Stage::Reading(response);
                Ok(())
            }
        }
    }

    /// Reads until there is something to say.
    async fn read(&mut self, mut response: Response) -> Result<(), ModelError> {
        while self.events.is_empty() {
            let chunk = match timeout(self.limits.idle, response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return self.ended(),
                Ok(Err(_)) | Err(_) if self.protocol.is_complete() => return self.end(),
                Ok(Err(error)) => return Err(in_answer(error)),
                Err(_) => return Err(silent(self.limits.idle)),
            };
            self.received = self.received.saturating_add(chunk.len());
            if self.received > self.limits.reply {
                return Err(no_end());
            }
            self.sse.push(&chunk)?;
            while let Some(data) = self.sse.next()? {
                self.protocol.take(data, &mut self.events)?;
                if self.protocol.is_over() {
                    let_go(response);
                    return self.end();
                }
            }
        }
        self.stage = Stage::Reading(response);
        Ok(())
    }

    /// The server has closed the stream, possibly in the middle of an event.
    fn ended(&mut self) -> Result<(), ModelError> {
        if let Ok(Some(data)) = self.sse.rest() {
            match self.protocol.take(data, &mut self.events) {
                Err(error) if error.kind == ModelErrorKind::Malformed => {}
                taken => taken?,
            }
        }
        self.end()
    }

    fn end(&mut self) -> Result<(), ModelError> {
        let reply = self.protocol.finish()?;
        self.events.push_back(ModelEvent::Done(reply));
        Ok(())
    }
}

/// An answer that is one piece of JSON.
pub(super) async fn ask<T: DeserializeOwned>(call: Call) -> Result<T, ModelError> {
    let asked = async {
        let Limits { first_byte, idle, reply, .. } = call.limits;
        let sent = timeout(first_byte, call.http.execute(call.request)).await;
        let response = sent.map_err(|_| silent(first_byte))?.map_err(in_transport)?;
        if !response.status().is_success() {
            return Err(refusal(response, call.limits).await);
        }
        let body = read_whole(response, reply, idle).await?;
        serde_json::from_slice(&body).map_err(bad_chunk)
    };
    asked.await.map_err(|error| fit_to_show(error, call.key.as_ref()))
}

async fn refusal(response: Response, limits: Limits) -> ModelError {
    let (status, headers) = (response.status(), response.headers().clone());
    explain(status, &headers, &read_begin(response, limits.idle).await)
}

/// As much of an answer as is worth showing. A status without a readable body is still worth more than a failure to
/// read it.
async fn read_begin(mut response: Response, idle: Duration) -> String {
    let mut body = Vec::new();
    while let Ok(Ok(Some(chunk))) = timeout(idle, response.chunk()).await {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST_ERROR {
            break;
        }
    }
    String::from_utf8_lossy(&body).into_owned()
}

/// Reads what is left of an answer that is over, which is nothing but its end: else its connection would be closed.
#[allow(
    clippy::disallowed_methods,
    reason = "it ends by itself in a second, and nobody waits for it"
)]
fn let_go(mut response: Response) {
    if response.chunk().now_or_never().is_none() {
        tokio::spawn(async move { timeout(LINGER, response.chunk()).await.is_ok() });
    }
}

async fn read_whole(
    mut response: Response,
    limit: usize,
    idle: Duration,
) -> Result<Vec<u8>, ModelError> {
    let mut body = Vec::new();
    loop {
        let chunk = timeout(idle, response.chunk()).await.map_err(|_| silent(idle))?;
        let Some(chunk) = chunk.map_err(in_answer)? else { return Ok(body) };
        body.extend_from_slice(&chunk);
        if body.len() > limit {
            return Err(no_end());
        }
    }
}

enum Kind {
    Json,
    Page,
    Stream,
}

fn kind(response: &Response) -> Kind {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        Kind::Json
    } else if kind.eq_ignore_ascii_case("text/html") {
        Kind::Page
    } else {
        Kind::Stream
    }
}

fn no_end() -> ModelError {
    malformed("the answer has no end")
}

fn silent(patience: Duration) -> ModelError {
    ModelError::new(ModelErrorKind::Timeout, format!("no answer for {patience:?}"))
}
