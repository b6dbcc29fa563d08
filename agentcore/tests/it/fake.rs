//! A model that says what it is told to, and remembers what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use agentcore::{Model, ModelError, ModelEvent, ModelRequest, Reply, ToolCall};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use serde_json::Value;

/// After its last reply it says the last one again.
pub(crate) struct Fake {
    name: &'static str,
    replies: Mutex<VecDeque<Result<Reply, ModelError>>>,
    asked: Mutex<Vec<ModelRequest>>,
}

impl Fake {
    pub(crate) fn new(replies: impl IntoIterator<Item = Reply>) -> Arc<Self> {
        Self::named("fake", replies.into_iter().map(Ok))
    }

    pub(crate) fn named(
        name: &'static str,
        replies: impl IntoIterator<Item = Result<Reply, ModelError>>,
    ) -> Arc<Self> {
        let replies = Mutex::new(replies.into_iter().collect());
        Arc::new(Self { name, replies, asked: Mutex::default() })
    }

    pub(crate) fn asked(&self) -> Vec<ModelRequest> {
        self.asked.lock().unwrap().clone()
    }
}

impl Model for Fake {
    fn name(&self) -> &str {
        self.name
    }

    fn stream(&self, request: &ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        self.asked.lock().unwrap().push(request.clone());
        let mut replies = self.replies.lock().unwrap();
        let reply = if replies.len() > 1 { replies.pop_front() } else { replies.front().cloned() };
        let events = match reply.expect("a reply") {
            Ok(reply) => {
                vec![Ok(ModelEvent::TextDelta(reply.content.clone())), Ok(ModelEvent::Done(reply))]
            }
            Err(error) => vec![Err(error)],
        };
        stream::iter(events).boxed()
    }
}

pub(crate) fn says(text: &str) -> Reply {
    Reply { content: text.into(), ..Reply::default() }
}

pub(crate) fn calls(calls: &[(&str, Value)]) -> Reply {
    let calls = calls.iter().enumerate().map(|(index, (name, arguments))| ToolCall {
        id: format!("{name}_{index}"),
        name: (*name).to_owned(),
        arguments: arguments.to_string(),
    });
    Reply { tool_calls: calls.collect(), ..Reply::default() }
}
