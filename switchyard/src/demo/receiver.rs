//! The demo's outside world: a small local server that the demo agent's tool calls, so that a first run needs no account
//! anywhere. It is a stand-in and says so.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use axum::{
    Router,
    extract::State,
    http::HeaderMap,
    routing::{get, post},
};
use serde_json::{Value, json};
use servicekit::{Lifecycle, serve};
use tokio::net::TcpListener;

use crate::serve::GRACE;

/// How many notes it remembers.
const KEPT: usize = 20;

type Shared = Arc<Mutex<Notes>>;

#[derive(Default)]
struct Notes {
    /// How many there were.
    total: u64,
    last: Vec<Value>,
}

/// A running receiver.
pub(crate) struct Receiver {
    address: SocketAddr,
}

impl Receiver {
    /// Starts it, on the port it had last time when that is free.
    pub(crate) async fn start(home: &Path, life: &Lifecycle) -> anyhow::Result<Self> {
        let remembered = home.join("demo-port");
        let port: u16 = std::fs::read_to_string(&remembered)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        let listener = match TcpListener::bind(("127.0.0.1", port)).await {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind("127.0.0.1:0").await?,
        };
        let address = listener.local_addr()?;
        std::fs::write(&remembered, address.port().to_string())?;
        serve("demo receiver", listener, router(), life);
        Ok(Self { address })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it takes notes.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/notes", self.address)
    }
}

/// `switchyard demo-receiver`: a receiver of its own, until it is told to stop.
pub(crate) async fn run(address: SocketAddr) -> anyhow::Result<()> {
    let life = Lifecycle::new();
    life.stop_on_signals()?;
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    serve("demo receiver", listener, router(), &life);
    life.wait(GRACE).await.map_err(anyhow::Error::msg)
}

fn router() -> Router {
    Router::new()
        .route("/notes", post(take_note))
        .route("/notes", get(list_notes))
        .with_state(Shared::default())
}

/// Remembers a note and whether a key came with it; never the key.
async fn take_note(
    State(notes): State<Shared>,
    headers: HeaderMap,
    body: String,
) -> axum::Json<Value> {
    let note: Value = serde_json::from_str(&body).unwrap_or(Value::String(body));
    let key = headers.get("x-demo-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
    let seen = json!({ "note": note, "key_received": !key.is_empty(), "key_length": key.len() });
    let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
    notes.total += 1;
    notes.last.push(seen.clone());
    let surplus = notes.last.len().saturating_sub(KEPT);
    notes.last.drain(..surplus);
    axum::Json(
        json!({ "stored": true, "by": "the demo receiver, a stand-in on this machine", "seen": seen }),
    )
}

async fn list_notes(State(notes): State<Shared>) -> axum::Json<Value> {
    let notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
    axum::Json(json!({ "total": notes.total, "items": notes.last }))
}
