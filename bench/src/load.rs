//! The client: a closed loop over keep-alive connections, one worker each, on the thread that calls it.
//!
//! It shares the machine with what it measures, so it does next to nothing: requests are bytes made beforehand, answers
//! are looked at only as far as it takes to know that they are right.

mod connection;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::task::JoinSet;

pub(crate) use connection::{Answer, Connection};

use crate::figure::Sample;

/// What is sent, and what a right answer is.
pub(crate) trait Traffic: Send + Sync + 'static {
    /// Appends the `n`th request, whole.
    fn write(&self, n: usize, request: &mut Vec<u8>);

    /// What is wrong with an answer, if anything is.
    fn wrong(&self, answer: &Answer<'_>) -> Option<String>;
}

/// How long to measure, and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) warm_up: Duration,
    pub(crate) measure: Duration,
    pub(crate) repeats: usize,
}

impl Plan {
    pub(crate) const FULL: Self =
        Self { warm_up: Duration::from_millis(1_500), measure: Duration::from_secs(3), repeats: 5 };
    pub(crate) const QUICK: Self = Self {
        warm_up: Duration::from_millis(200),
        measure: Duration::from_millis(400),
        repeats: 1,
    };

    /// The same, less often.
    pub(crate) fn at_most(self, repeats: usize) -> Self {
        Self { repeats: self.repeats.min(repeats), ..self }
    }

    /// How many requests fill a repeat at this rate.
    pub(crate) fn requests(&self, rate: f64) -> usize {
        (rate * self.measure.as_secs_f64()).ceil().max(1.0) as usize
    }
}

/// Sends `total` requests over so many connections, each after the answer to the one before; gives up after `limit`.
pub(crate) async fn closed_loop<T: Traffic>(
    address: SocketAddr,
    connections: usize,
    total: usize,
    limit: Duration,
    traffic: Arc<T>,
) -> anyhow::Result<Sample> {
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        open.push(Connection::open(address).await?);
    }
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut workers = JoinSet::new();
    for connection in open {
        let work =
            worker(connection, address, traffic.clone(), next.clone(), total, started + limit);
        workers.spawn(work);
    }
    let mut sample = Sample::default();
    while let Some(seen) = workers.join_next().await {
        sample.add(seen.context("a worker ended early")??);
    }
    sample.elapsed = started.elapsed();
    Ok(sample)
}

async fn worker<T: Traffic>(
    mut connection: Connection,
    address: SocketAddr,
    traffic: Arc<T>,
    next: Arc<AtomicUsize>,
    total: usize,
    until: Instant,
) -> anyhow::Result<Sample> {
    let mut sample = Sample::default();
    let mut request = Vec::with_capacity(2_048);
    while Instant::now() < until {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= total {
            break;
        }
        request.clear();
        traffic.write(n, &mut request);
        let sent = Instant::now();
        let wrong = match connection.exchange(&request).await {
            Ok(answer) => traffic.wrong(&answer),
            Err(error) => {
                connection = Connection::open(address).await?;
                Some(error.to_string())
            }
        };
        match wrong {
            None => sample.answered(sent),
            Some(what) => sample.failed(what),
        }
    }
    Ok(sample)
}

/// A request's bytes.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nhost: bench\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend(format!("{name}: {value}\r\n").into_bytes());
    }
    bytes.extend(format!("content-length: {}\r\n\r\n", body.len()).into_bytes());
    bytes.extend(body);
    bytes
}

/// The same request again and again.
pub(crate) struct Same {
    pub(crate) request: Vec<u8>,
    pub(crate) status: u16,
    /// What a right answer's body contains.
    pub(crate) contains: &'static str,
}

impl Traffic for Same {
    fn write(&self, _: usize, request: &mut Vec<u8>) {
        request.extend_from_slice(&self.request);
    }

    fn wrong(&self, answer: &Answer<'_>) -> Option<String> {
        answer.unless(self.status, self.contains)
    }
}
