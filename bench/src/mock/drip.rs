//! A model that takes its time.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use serde_json::{Value, json};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::reply::{choices, event};

/// An answer whose words are the times they were said at.
pub(super) struct Drip {
    model: String,
    left: u32,
    every: Interval,
    done: bool,
}

impl Drip {
    /// The answer of the model of this name, if it is one of these.
    pub(super) fn of(model: &str) -> Option<Self> {
        let (tokens, millis) = model.strip_prefix("drip-")?.split_once('-')?;
        let period = Duration::from_millis(millis.parse().ok().filter(|millis| *millis > 0)?);
        // Streams that were asked for together do not speak together.
        let first = Instant::now() + period.mul_f64(rand::random());
        let mut every = interval_at(first, period);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Some(Self { model: model.to_owned(), left: tokens.parse().ok()?, every, done: false })
    }

    fn word(&self) -> String {
        let delta = json!({ "content": format!("{} ", micros_now()) });
        event(&self.model, choices(delta, Value::Null), Value::Null)
    }

    fn last(&self) -> String {
        let stop = event(&self.model, choices(json!({}), json!("stop")), Value::Null);
        format!("{stop}data: [DONE]\n\n")
    }
}

impl Body for Drip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.done {
            return Poll::Ready(None);
        }
        ready!(self.every.poll_tick(cx));
        let text = if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            self.word()
        } else {
            self.done = true;
            self.last()
        };
        Poll::Ready(Some(Ok(Frame::data(text.into()))))
    }
}

/// The time of day, which all processes of a machine agree on.
pub(crate) fn micros_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_micros().try_into().unwrap_or_default()
}
