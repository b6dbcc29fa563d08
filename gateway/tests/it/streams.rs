//! Answers without an end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, extract::State, http::header, response::Response, routing::get};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use servicekit::Lifecycle;
use testkit::eventually;
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc},
};

use crate::world::World;

/// Streams what the test sends it, and counts clients that are gone.
#[derive(Clone)]
struct Upstream {
    pieces: Arc<Mutex<Option<mpsc::Receiver<Bytes>>>>,
    come: Arc<AtomicUsize>,
    gone: Arc<AtomicUsize>,
}

struct Watch(Arc<AtomicUsize>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

async fn events(State(upstream): State<Upstream>) -> Response {
    let pieces = upstream.pieces.lock().await.take().unwrap();
    let watch = Watch(upstream.gone.clone());
    let stream = futures::stream::unfold((pieces, watch), |(mut pieces, watch)| async move {
        let piece = pieces.recv().await?;
        Some((Ok::<_, std::io::Error>(piece), (pieces, watch)))
    });
    let mut response = Response::new(Body::from_stream(stream));
    response.headers_mut().insert(header::CONTENT_TYPE, "text/event-stream".parse().unwrap());
    response
}

/// Answers in its own time; the client may not wait.
async fn slow(State(upstream): State<Upstream>) -> &'static str {
    upstream.come.fetch_add(1, Ordering::SeqCst);
    let _watch = Watch(upstream.gone.clone());
    std::future::pending().await
}

struct Streaming {
    world: World,
    send: mpsc::Sender<Bytes>,
    come: Arc<AtomicUsize>,
    gone: Arc<AtomicUsize>,
}

/// A gateway that waits this long for the beginning of an answer.
async fn start(timeout: Duration) -> Streaming {
    let (send, pieces) = mpsc::channel(16);
    let (come, gone) = (Arc::default(), Arc::default());
    let pieces = Arc::new(Mutex::new(Some(pieces)));
    let upstream = Upstream { pieces, come: Arc::clone(&come), gone: Arc::clone(&gone) };
    let router = Router::new()
        .route("/v1/runs/run_1/events", get(events))
        .route("/v1/runs/run_1/wait", get(slow))
        .with_state(upstream);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    servicekit::serve("upstream", listener, router, &Lifecycle::new());
    let world = World::with(|config| {
        config.upstreams.engine = url.parse().unwrap();
        config.limits.upstream_timeout = timeout;
    })
    .await;
    Streaming { world, send, come, gone }
}

impl Streaming {
    async fn open(&self, path: &str) -> reqwest::Response {
        let http = servicekit::peer::internal_http().unwrap();
        let url = format!("http://{}{path}", self.world.address);
        http.get(url).bearer_auth(&self.world.key).send().await.unwrap()
    }

    async fn heard<S>(&self, stream: &mut S, piece: &'static str)
    where
        S: Stream<Item = reqwest::Result<Bytes>> + Unpin,
    {
        self.send.send(piece.into()).await.unwrap();
        let next = tokio::time::timeout(Duration::from_secs(30), stream.next());
        assert_eq!(next.await.unwrap().unwrap().unwrap(), piece);
    }
}

#[tokio::test]
async fn every_event_passes_at_once_and_a_client_that_hangs_up_ends_the_stream_behind_it() {
    let streaming = start(Duration::from_secs(2)).await;
    let response = streaming.open("/v1/runs/run_1/events").await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut stream = response.bytes_stream();

    streaming.heard(&mut stream, "id: 1\n\n").await;
    streaming.heard(&mut stream, ": still here\n\n").await;
    // Silence longer than a service may take to begin its answer.
    tokio::time::sleep(Duration::from_secs(3)).await;
    streaming.heard(&mut stream, "id: 2\n\n").await;
    assert_eq!(streaming.gone.load(Ordering::SeqCst), 0);

    drop(stream);
    eventually("the service to notice", || async {
        (streaming.gone.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_does_not_wait_for_the_answer_is_noticed_too() {
    let streaming = start(Duration::from_secs(20)).await;

    let waiting = streaming.open("/v1/runs/run_1/wait");
    let come = async || (streaming.come.load(Ordering::SeqCst) == 1).then_some(());
    tokio::select! {
        _ = waiting => panic!("nobody has answered"),
        () = eventually("the service to be asked", come) => {}
    }
    eventually("the service to notice", || async {
        (streaming.gone.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_ends_behind_the_edge_ends_before_it() {
    let streaming = start(Duration::from_secs(20)).await;
    let mut stream = streaming.open("/v1/runs/run_1/events").await.bytes_stream();
    streaming.heard(&mut stream, "id: 1\n\n").await;

    let Streaming { send, .. } = streaming;
    drop(send);

    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_soft_stop_turns_readiness_red_and_lets_open_requests_end() {
    let streaming = start(Duration::from_secs(20)).await;
    let mut stream = streaming.open("/v1/runs/run_1/events").await.bytes_stream();
    streaming.heard(&mut stream, "id: 1\n\n").await;

    streaming.world.life.shutdown();

    streaming.heard(&mut stream, "id: 2\n\n").await;
}
