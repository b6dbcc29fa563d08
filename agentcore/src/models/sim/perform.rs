//! How a simulated model speaks: word by word, as a real one would.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::turn::Turn;
use crate::model::{ModelError, ModelErrorKind, ModelEvent, Reply};

pub(super) struct Performance {
    reply: Result<Reply, ModelError>,
    delay: Duration,
    pace: Duration,
    cut_after: Option<usize>,
}

impl Performance {
    pub(super) fn say(reply: Reply) -> Self {
        let (delay, pace) = (Duration::ZERO, Duration::ZERO);
        Self { reply: Ok(reply), delay, pace, cut_after: None }
    }

    pub(super) fn refuse(error: ModelError) -> Self {
        let (delay, pace) = (Duration::ZERO, Duration::ZERO);
        Self { reply: Err(error), delay, pace, cut_after: None }
    }

    pub(super) fn paced_as(mut self, turn: &Turn) -> Self {
        self.delay = Duration::from_millis(turn.delay_ms);
        self.pace = Duration::from_millis(turn.pace_ms);
        self.cut_after = turn.cut_after;
        self
    }

    pub(super) fn stream(self) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let Self { reply, delay, pace, cut_after } = self;
        let mut events = match reply {
            Ok(reply) => events(reply).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        if let Some(cut_after) = cut_after {
            events.truncate(cut_after.min(events.len() - 1));
            let why = "the simulated model broke off, as scripted";
            events.push(Err(ModelError::new(ModelErrorKind::Cut, why)));
        }
        if delay.is_zero() && pace.is_zero() {
            return stream::iter(events).boxed();
        }
        let slowly = stream::iter(events.into_iter().enumerate()).then(move |(index, event)| {
            let pause = if index == 0 { delay } else { pace };
            async move {
                tokio::time::sleep(pause).await;
                event
            }
        });
        slowly.boxed()
    }
}

fn events(reply: Reply) -> Vec<ModelEvent> {
    let words = |text: &str| -> Vec<String> {
        text.split_inclusive(char::is_whitespace).map(str::to_owned).collect()
    };
    let thought = reply.reasoning.as_deref().map(words).unwrap_or_default();
    let mut events: Vec<ModelEvent> = thought.into_iter().map(ModelEvent::ReasoningDelta).collect();
    events.extend(words(&reply.content).into_iter().map(ModelEvent::TextDelta));
    events.extend(reply.tool_calls.iter().enumerate().map(|(index, call)| {
        ModelEvent::ToolCallDelta {
            index,
            id: Some(call.id.clone()),
            name: Some(call.name.clone()),
            arguments: call.arguments.clone(),
        }
    }));
    events.push(ModelEvent::Done(reply));
    events
}
