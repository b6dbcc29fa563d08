//! A stand-in for a provider: gives the answers it was made with, one a request, and remembers what it was asked.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use agentcore::models::anthropic::Anthropic;
use agentcore::models::gemini::Gemini;
use agentcore::models::http_client;
use agentcore::models::openai::OpenAi;
use agentcore::{
    Effect, Message, Model, ModelError, ModelEvent, ModelRequest, Reply, ToolSpec, complete,
};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use futures::stream::{self, Stream, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub(crate) struct Provider {
    pub(crate) base_url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    _server: JoinSet<()>,
}

#[derive(Clone)]
pub(crate) struct Asked {
    /// The far end of the connection.
    pub(crate) from: SocketAddr,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Provider {
    pub(crate) async fn start(answers: impl IntoIterator<Item = Response>) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answers = Mutex::new(answers.into_iter().collect::<VecDeque<_>>());
        let (answers, seen) = (Arc::new(answers), asked.clone());
        let router = Router::new().fallback(
            move |from: ConnectInfo<SocketAddr>, uri: Uri, headers: HeaderMap, body: Bytes| {
                let body = serde_json::from_slice(&body).unwrap();
                seen.lock().unwrap().push(Asked {
                    from: from.0,
                    path: uri.to_string(),
                    headers,
                    body,
                });
                let answer = answers.lock().unwrap().pop_front();
                async move { answer.unwrap_or_else(|| status(418, "asked too often")) }
            },
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let mut server = JoinSet::new();
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        server.spawn(async move { axum::serve(listener, service).await.unwrap() });
        Self { base_url, asked, _server: server }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn model(&self) -> OpenAi {
        openai(&self.base_url)
    }

    pub(crate) fn anthropic(&self) -> Anthropic {
        Anthropic::new(http(), self.base_url.parse().unwrap(), Some(KEY.into()))
    }

    pub(crate) fn gemini(&self) -> Gemini {
        Gemini::new(http(), self.base_url.parse().unwrap(), Some(KEY.into()))
    }

    /// Asks once and returns the reply with the deltas before it.
    pub(crate) async fn ask(&self) -> (Result<Reply, ModelError>, Vec<ModelEvent>) {
        ask(&self.model(), &hello()).await
    }
}

/// Asks once and returns the reply with the deltas before it.
pub(crate) async fn ask(
    model: &dyn Model,
    request: &ModelRequest,
) -> (Result<Reply, ModelError>, Vec<ModelEvent>) {
    let mut events = Vec::new();
    let reply = complete(model, request, |event| events.push(event)).await;
    (reply, events)
}

/// What the assistant is remembered to have said.
pub(crate) fn remembered(reply: Reply) -> Message {
    let Reply { content, tool_calls, reasoning, replay, .. } = reply;
    Message::Assistant { content, tool_calls, reasoning, replay }
}

/// The answer of a tool called `look`.
pub(crate) fn looked(call: &str, content: &str) -> Message {
    Message::Tool {
        tool_call_id: call.into(),
        tool_name: "look".into(),
        content: content.into(),
        error: false,
    }
}

pub(crate) fn look() -> ToolSpec {
    ToolSpec {
        name: "look".into(),
        description: "Looks.".into(),
        parameters: json!({ "type": "object", "properties": { "for": { "type": "string" } } }),
        effect: Effect::Read,
        timeout: ToolSpec::DEFAULT_TIMEOUT,
    }
}

/// One client for each test: they take long to make, and a connection must not outlive the test that opened it.
fn http() -> reqwest::Client {
    thread_local!(static HTTP: reqwest::Client = http_client().unwrap());
    HTTP.with(Clone::clone)
}

pub(crate) const KEY: &str = "sk-very-secret";

pub(crate) fn openai(base_url: &str) -> OpenAi {
    OpenAi::new(http(), base_url.parse().unwrap(), Some(KEY.into()))
}

pub(crate) fn hello() -> ModelRequest {
    let messages = vec![Message::user("hello")];
    ModelRequest { model: "gpt-x".into(), messages, ..ModelRequest::default() }
}

pub(crate) fn status(status: u16, body: impl Into<Body>) -> Response {
    Response::builder().status(status).body(body.into()).unwrap()
}

/// Each is sent as a piece of its own, byte by byte as it stands.
pub(crate) fn pieces(pieces: Vec<Vec<u8>>) -> Response {
    streaming(pieces.into_iter().map(Ok), stream::empty())
}

/// Like [`pieces`], but the connection breaks at the end.
pub(crate) fn broken(pieces: Vec<Vec<u8>>) -> Response {
    let broken = Err(io::Error::other("broken on purpose"));
    streaming(pieces.into_iter().map(Ok).chain([broken]), stream::empty())
}

/// Like [`pieces`], but nothing follows and the connection stays open.
pub(crate) fn stuck(pieces: Vec<Vec<u8>>) -> Response {
    streaming(pieces.into_iter().map(Ok), stream::pending())
}

type Piece = io::Result<Vec<u8>>;

fn streaming<I>(pieces: I, then: impl Stream<Item = Piece> + Send + 'static) -> Response
where
    I: Iterator<Item = Piece> + Send + 'static,
{
    // The server sends what it has whenever nothing more is ready.
    let one_by_one = stream::iter(pieces).then(|piece| async {
        tokio::task::yield_now().await;
        piece
    });
    let response = Response::builder().header("content-type", "text/event-stream");
    response.body(Body::from_stream(one_by_one.chain(then))).unwrap()
}

/// The events of a stream, each with its data.
pub(crate) fn events(events: &[Value]) -> Vec<Vec<u8>> {
    events.iter().map(data).collect()
}

pub(crate) fn data(data: &Value) -> Vec<u8> {
    format!("data: {data}\n\n").into_bytes()
}

pub(crate) fn says(text: &str) -> Vec<u8> {
    data(&json!({ "choices": [{ "index": 0, "delta": { "content": text } }] }))
}

pub(crate) fn stops(reason: &str) -> Vec<u8> {
    data(&json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] }))
}

pub(crate) fn done() -> Vec<u8> {
    b"data: [DONE]\n\n".to_vec()
}
