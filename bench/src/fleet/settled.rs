//! Waiting until everything that was accepted has been dealt with.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use async_nats::{ConnectOptions, jetstream};
use futures::TryStreamExt as _;
use sqlx::PgConnection;

use super::Fleet;

/// Even the longest backlog of a benchmark is gone by then.
const PATIENCE: Duration = Duration::from_secs(600);

/// An onlooker at the queues.
pub(crate) struct Settled {
    database: PgConnection,
    bus: jetstream::Context,
    consumers: Vec<(String, String)>,
}

impl Settled {
    pub(crate) async fn new(fleet: &Fleet) -> anyhow::Result<Self> {
        let password = fleet.secret("admin_nats_password")?.to_owned();
        let options = ConnectOptions::with_user_and_password("admin".into(), password);
        let bus = jetstream::new(options.connect(fleet.nats.url()).await?);
        let mut consumers = Vec::new();
        let streams: Vec<String> = bus.stream_names().try_collect().await?;
        for stream in streams {
            let names: Vec<String> =
                bus.get_stream_no_info(&stream).await?.consumer_names().try_collect().await?;
            consumers.extend(names.into_iter().map(|name| (stream.clone(), name)));
        }
        Ok(Self { database: fleet.onlooker().await?, bus, consumers })
    }

    /// Waits until every run has ended; says how long that took.
    pub(crate) async fn runs(&mut self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        while self.under_way(&self.starters(), RUNS).await? {
            pause(started).await?;
        }
        Ok(started.elapsed())
    }

    /// Waits until every run has ended and every event has been heard; says how long that took.
    pub(crate) async fn everything(&mut self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let consumers = self.consumers.clone();
        while self.under_way(&consumers, EVERYTHING).await? {
            pause(started).await?;
        }
        Ok(started.elapsed())
    }

    /// Waits until every delivery is in the stream.
    pub(crate) async fn published(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        while self.busy(UNPUBLISHED).await? {
            pause(started).await?;
        }
        Ok(())
    }

    /// How many fired triggers were ever published.
    pub(crate) async fn fired(&self) -> anyhow::Result<u64> {
        let stream = self.bus.get_stream("TRIGGERS").await?;
        Ok(stream.cached_info().state.last_sequence)
    }

    /// The consumers that make runs.
    fn starters(&self) -> Vec<(String, String)> {
        self.consumers.iter().filter(|(stream, _)| stream == "TRIGGERS").cloned().collect()
    }

    /// What leaves a table between two looks is in the stream then, and what leaves the stream is in a table: only when
    /// both are empty twice in a row is nothing on its way.
    async fn under_way(
        &mut self,
        consumers: &[(String, String)],
        question: &'static str,
    ) -> anyhow::Result<bool> {
        for _ in 0..2 {
            if self.waiting(consumers).await? || self.busy(question).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn waiting(&self, consumers: &[(String, String)]) -> anyhow::Result<bool> {
        for (stream, name) in consumers {
            let stream = self.bus.get_stream_no_info(stream).await?;
            let info = stream.consumer_info(name).await.context("a consumer is gone")?;
            if info.num_pending > 0 || info.num_ack_pending > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn busy(&mut self, question: &'static str) -> anyhow::Result<bool> {
        Ok(sqlx::query_scalar(question).fetch_one(&mut self.database).await?)
    }
}

const UNPUBLISHED: &str = "select exists (select from eventsvc.outbox where published_at is null)";
const RUNS: &str = "
    select exists (select from eventsvc.outbox where published_at is null)
        or exists (select from engine.run where status = 'queued')
        or exists (select from engine.run where status = 'running')";
const EVERYTHING: &str = "
    select exists (select from eventsvc.outbox where published_at is null)
        or exists (select from engine.outbox where published_at is null)
        or exists (select from engine.run where status = 'queued')
        or exists (select from engine.run where status = 'running')";

async fn pause(since: Instant) -> anyhow::Result<()> {
    if since.elapsed() > PATIENCE {
        bail!("the backlog is not gone after {PATIENCE:?}");
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    Ok(())
}
