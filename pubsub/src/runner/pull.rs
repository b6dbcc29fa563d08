//! The open request for messages, of which there is at most one.

use std::time::Duration;

use async_nats::jetstream::{
    Message,
    consumer::{Consumer as Durable, pull},
};
use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep_until};

use super::Runner;

/// How long a pull waits at the server before it is made again.
const EXPIRES: Duration = Duration::from_secs(20);
/// How long to wait before another pull after one failed.
const RETRY: Duration = Duration::from_millis(250);

pub(crate) struct Puller {
    runner: Runner,
    durable: Durable<pull::Config>,
    open: Option<pull::Batch>,
    not_before: Instant,
}

impl Puller {
    pub(crate) fn new(runner: &Runner, durable: Durable<pull::Config>) -> Self {
        Self { runner: runner.clone(), durable, open: None, not_before: Instant::now() }
    }

    /// Asks for up to `wanted` messages, unless they were asked for already or it is too early.
    pub(crate) async fn ask(&mut self, wanted: usize) {
        if self.open.is_some() || Instant::now() < self.not_before {
            return;
        }
        if !self.runner.bus.is_connected() {
            self.not_before = Instant::now() + RETRY;
            return;
        }
        let batch = self.durable.batch().max_messages(wanted).expires(EXPIRES).messages();
        match batch.await {
            Ok(open) => self.open = Some(open),
            Err(error) => self.failed(&error),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The next message; none when it is time to ask again.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        let Some(open) = &mut self.open else {
            sleep_until(self.not_before).await;
            return None;
        };
        match open.next().await {
            Some(Ok(message)) => return Some(message),
            Some(Err(error)) => self.failed(&*error),
            None => self.open = None,
        }
        None
    }

    /// A message that is here already.
    pub(crate) fn ready(&mut self) -> Option<Message> {
        let next = self.open.as_mut()?.next().now_or_never()?;
        if let Some(Ok(message)) = next {
            return Some(message);
        }
        self.open = None;
        None
    }

    /// Ends the pull and gives back what it brought and nobody began.
    pub(crate) async fn close(&mut self) {
        while let Some(message) = self.ready() {
            self.runner.give_back(&message, Duration::ZERO).await;
        }
        self.open = None;
    }

    fn failed(&mut self, error: &dyn std::fmt::Display) {
        tracing::warn!(consumer = %self.runner, %error, "a pull failed");
        self.open = None;
        self.not_before = Instant::now() + RETRY;
    }
}
