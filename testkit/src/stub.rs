//! Local servers that stand in for the outside world: they record what reaches them and answer as told, also badly.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

/// A request that reached the stub.
#[derive(Clone, Debug)]
pub struct Stubbed {
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// Its query, without the question mark.
    pub query: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Stubbed {
    /// The body as JSON; null when it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header as text; empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// How the stub answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A status and a JSON body.
    Json(u16, Value),
    /// A status, headers and bytes.
    Raw(u16, Vec<(String, String)>, Vec<u8>),
    /// The same as another answer, after a while.
    After(Duration, Box<Answer>),
    /// Nothing, for ever.
    Never,
    /// The connection ends without an answer.
    Reset,
}

/// One of the connections that there are, however it ends.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(open: Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::SeqCst);
        Self(open)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

type Handler = dyn Fn(&Stubbed) -> Answer + Send + Sync;

/// A running stand-in; stops when dropped.
pub struct Stub {
    address: std::net::SocketAddr,
    seen: Arc<Mutex<Vec<Stubbed>>>,
    open: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Stub {
    /// Starts a stand-in that answers each request by `answer`.
    pub async fn start(answer: impl Fn(&Stubbed) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let seen: Arc<Mutex<Vec<Stubbed>>> = Arc::default();
        let (answer, log): (Arc<Handler>, _) = (Arc::new(answer), seen.clone());
        let open = Arc::new(AtomicUsize::new(0));
        let counted = open.clone();
        #[allow(
            clippy::disallowed_methods,
            reason = "a test server has no lifecycle but its test's"
        )]
        let server = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, log, counted) = (answer.clone(), log.clone(), counted.clone());
                let connection = Counted::new(counted);
                connections.spawn(async move {
                    let _connection = connection;
                    let service =
                        service_fn(move |request| serve(request, answer.clone(), log.clone()));
                    // A stub that resets connections ends them with an error on purpose.
                    let _ =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, seen, open, server }
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Every request so far, in order of arrival.
    pub fn requests(&self) -> Vec<Stubbed> {
        self.seen.lock().expect("no poisoned lock").clone()
    }

    /// How many connections there are.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// How many requests a path has had.
    pub fn hits(&self, path: &str) -> usize {
        self.requests().iter().filter(|request| request.path == path).count()
    }
}

async fn serve(
    request: Request<Incoming>,
    answer: Arc<Handler>,
    log: Arc<Mutex<Vec<Stubbed>>>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let arrived = Stubbed {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body,
    };
    // Answered before it is logged would let a test see an answer without its request.
    log.lock().expect("no poisoned lock").push(arrived.clone());
    let mut reply = answer(&arrived);
    loop {
        match reply {
            Answer::After(pause, then) => {
                tokio::time::sleep(pause).await;
                reply = *then;
            }
            Answer::Never => match std::future::pending::<Infallible>().await {},
            Answer::Reset => return Err(std::io::Error::other("reset by the stub")),
            Answer::Json(status, body) => {
                let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
                return Ok(response(status, &headers, body.to_string().into_bytes()));
            }
            Answer::Raw(status, headers, body) => return Ok(response(status, &headers, body)),
        }
    }
}

fn response(status: u16, headers: &[(String, String)], body: Vec<u8>) -> Response<Full<Bytes>> {
    let builder =
        headers.iter().fold(Response::builder().status(status), |builder, (name, value)| {
            builder.header(name, value)
        });
    builder.body(Full::new(Bytes::from(body))).expect("a response")
}
