//! `sim`: a simulated model for demos and tests. It needs no key and no network, understands nothing, and says the
//! same to the same conversation every time. It is not a language model, and says so where it speaks for itself.
//!
//! - `sim:echo` repeats the last thing the user said, word for word.
//! - `sim:demo` calls the first tool once, with arguments made up from the tool's schema and the user's words, then
//!   reports what the tool said.
//! - `sim:script` plays the turns written in the system prompt between ```` ```sim ```` and ```` ``` ````: see
//!   [`Turn`].

mod fill;
mod script;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryFutureExt};
use serde_json::Value;
use shared_models::message::{Message, ToolCall};
use shared_models::usage::Usage;

pub use self::script::{Fail, ScriptedCall, Turn};
use crate::model::{Model, ModelError, ModelEvent, ModelRequest, Reply, ReplyFinish};

/// More failing conversations than this at a time are forgotten and begin anew.
const MOST_FAILING: usize = 10_000;
const LONGEST_QUOTE: usize = 500;

#[derive(Clone, Default)]
pub struct Sim {
    /// How often each conversation has been failed on purpose, so that a scripted failure can pass. This is the only
    /// thing remembered from call to call.
    failed: Arc<Mutex<HashMap<u64, u32>>>,
}

impl Sim {
    pub const NAME: &'static str = "sim";

    pub fn new() -> Self {
        Self::default()
    }

    async fn reply(self, request: ModelRequest) -> Result<Reply, ModelError> {
        let heard = Heard::from(&request);
        let (text, calls) = match request.model.as_str() {
            "echo" => (heard.input.clone(), Vec::new()),
            "demo" => demo(&request, &heard),
            "script" => self.play(&request, &heard).await?,
            other => {
                let message =
                    format!("sim has no model `{other}`; there are echo, demo and script");
                return Err(ModelError::Rejected { status: 404, message });
            }
        };
        Ok(reply(&request, &heard, text, calls))
    }

    async fn play(
        &self,
        request: &ModelRequest,
        heard: &Heard,
    ) -> Result<(String, Vec<(String, Value)>), ModelError> {
        let turns = script::read(&request.messages)
            .map_err(|message| ModelError::Rejected { status: 400, message })?;
        let Some(turn) = turns.into_iter().nth(heard.replies) else {
            return Ok(("The script has ended. (This is a simulated model.)".into(), Vec::new()));
        };
        tokio::time::sleep(Duration::from_millis(turn.delay_ms)).await;
        if let Some(fail) = &turn.fail
            && self.fails(request, fail)
        {
            let message = "a failure of the simulated model, as scripted".to_owned();
            let retry_after = fail.retry_after.map(Duration::from_secs);
            return Err(ModelError::from_status(fail.status, message, retry_after));
        }
        Ok(turn.spoken(&heard.input, &heard.last_tool_result))
    }

    /// Fails a conversation as often as the script says, then lets it pass and forgets it.
    fn fails(&self, request: &ModelRequest, fail: &Fail) -> bool {
        let Some(times) = fail.times else { return true };
        let mut hasher = DefaultHasher::new();
        format!("{:?}", request.messages).hash(&mut hasher);
        let conversation = hasher.finish();
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let so_far = failed.remove(&conversation).unwrap_or(0);
        if so_far >= times {
            return false;
        }
        if failed.len() >= MOST_FAILING {
            failed.clear();
        }
        failed.insert(conversation, so_far + 1);
        true
    }
}

impl Model for Sim {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let reply = self.clone().reply(request);
        reply
            .map_ok(|reply| stream::iter(events(reply).into_iter().map(Ok)))
            .try_flatten_stream()
            .boxed()
    }
}

/// What a simulated model takes in of a conversation.
struct Heard {
    /// The last thing the user said.
    input: String,
    /// How often the model has answered since.
    replies: usize,
    last_tool_result: String,
    /// Whether that result came since the user spoke, and from which tool.
    tool_answered: Option<String>,
    replies_ever: usize,
}

impl From<&ModelRequest> for Heard {
    fn from(request: &ModelRequest) -> Self {
        let mut heard = Self {
            input: String::new(),
            replies: 0,
            last_tool_result: String::new(),
            tool_answered: None,
            replies_ever: 0,
        };
        for message in &request.messages {
            match message {
                Message::System { .. } => {}
                Message::User { content } => {
                    heard.input = content.text();
                    heard.replies = 0;
                    heard.tool_answered = None;
                }
                Message::Assistant { .. } => {
                    heard.replies += 1;
                    heard.replies_ever += 1;
                }
                Message::Tool { content, tool_name, .. } => {
                    heard.last_tool_result.clone_from(content);
                    heard.tool_answered = Some(tool_name.clone());
                }
            }
        }
        heard
    }
}

fn demo(request: &ModelRequest, heard: &Heard) -> (String, Vec<(String, Value)>) {
    if let Some(tool) = &heard.tool_answered {
        let result: String = heard.last_tool_result.chars().take(LONGEST_QUOTE).collect();
        return (
            format!("I am a simulated model. The tool `{tool}` answered: {result}"),
            Vec::new(),
        );
    }
    let Some(tool) = request.tools.first() else {
        let input: String = heard.input.chars().take(LONGEST_QUOTE).collect();
        return (format!("I am a simulated model without tools. You said: {input}"), Vec::new());
    };
    let arguments = fill::arguments(&tool.parameters, &heard.input);
    let text = format!("I am a simulated model and call the tool `{}`.", tool.name);
    (text, vec![(tool.name.clone(), arguments)])
}

fn reply(
    request: &ModelRequest,
    heard: &Heard,
    content: String,
    calls: Vec<(String, Value)>,
) -> Reply {
    let turn = heard.replies_ever;
    let tool_calls: Vec<ToolCall> = calls
        .into_iter()
        .enumerate()
        .map(|(index, (name, arguments))| ToolCall {
            id: format!("sim_{turn}_{index}"),
            name,
            arguments: arguments.to_string(),
        })
        .collect();
    let finish = if tool_calls.is_empty() { ReplyFinish::Stop } else { ReplyFinish::ToolCalls };
    let called = tool_calls.iter().map(|call| 1 + words(&call.arguments));
    let usage = Usage {
        input_tokens: request.messages.iter().map(words_of).sum(),
        output_tokens: words(&content) + called.sum::<u64>(),
        ..Usage::default()
    };
    Reply { content, reasoning: None, tool_calls, usage, finish }
}

/// Word by word, as a real model would.
fn events(reply: Reply) -> Vec<ModelEvent> {
    let mut events: Vec<ModelEvent> = reply
        .content
        .split_inclusive(char::is_whitespace)
        .map(|word| ModelEvent::TextDelta(word.to_owned()))
        .collect();
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

/// A word counts as a token.
fn words(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

fn words_of(message: &Message) -> u64 {
    match message {
        Message::System { content } | Message::Tool { content, .. } => words(content),
        Message::User { content } => words(&content.text()),
        Message::Assistant { content, tool_calls, .. } => {
            let called = tool_calls.iter().map(|call| 1 + words(&call.arguments));
            words(content) + called.sum::<u64>()
        }
    }
}

#[cfg(test)]
#[path = "sim_tests.rs"]
mod tests;
