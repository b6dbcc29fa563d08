//! `JetStream`, as the relay uses it: a message id with each publish, acknowledgements awaited.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use async_nats::{
    ConnectOptions, HeaderMap,
    jetstream::{self, stream},
};
use bytes::Bytes;
use tokio::task::JoinSet;

use crate::figure::{Figure, Sample};

const STREAM: &str = "BENCH";
/// About the size of an event.
const PAYLOAD: usize = 700;

pub(super) async fn publish(
    url: &str,
    user: &str,
    password: &str,
    in_flight: usize,
    millis: u64,
) -> anyhow::Result<Figure> {
    let options = ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned());
    let context = jetstream::new(options.connect(url).await?);
    let config = stream::Config {
        name: STREAM.into(),
        subjects: vec!["bench.>".into()],
        duplicate_window: Duration::from_secs(120),
        ..stream::Config::default()
    };
    context.get_or_create_stream(config).await.context("cannot make the stream")?;

    let seed: u64 = rand::random();
    let next = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let until = started + Duration::from_millis(millis);
    let mut tasks = JoinSet::new();
    for _ in 0..in_flight {
        let (context, next) = (context.clone(), next.clone());
        tasks.spawn(async move {
            let (payload, mut sample) = (Bytes::from(vec![b'x'; PAYLOAD]), Sample::default());
            while Instant::now() < until {
                let mut headers = HeaderMap::new();
                let n = next.fetch_add(1, Ordering::Relaxed);
                headers.insert("Nats-Msg-Id", format!("{seed:016x}-{n}"));
                let sent = Instant::now();
                let ack = context.publish_with_headers("bench.event", headers, payload.clone());
                match ack.await?.await {
                    Ok(_) => sample.answered(sent),
                    Err(error) => sample.failed(error.to_string()),
                }
            }
            anyhow::Ok(sample)
        });
    }
    let mut sample = Sample::default();
    while let Some(seen) = tasks.join_next().await {
        sample.add(seen??);
    }
    sample.elapsed = started.elapsed();
    context.delete_stream(STREAM).await.context("cannot remove the stream")?;
    Ok(sample.figure())
}
