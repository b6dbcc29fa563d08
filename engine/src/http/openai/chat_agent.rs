//! A completion by an agent: a durable run.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use agentcore::{FinishReason, Message};
use axum::{
    Json,
    http::{HeaderName, HeaderValue},
    response::{
        IntoResponse as _, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{Stream, StreamExt as _, stream};
use serde_json::{Value, json};
use servicekit::{Caller, FieldError, Problem, scope::RunsWrite};
use shared_models::{RunId, Usage, UserId, WaitReason};

use super::ask::ChatRequest;
use super::hangup::Hangup;
use super::shape::{self, Shape};
use crate::app::App;
use crate::codes;
use crate::committer::printable;
use crate::http::runs::{
    self, Start,
    watch::{Shown, Watch},
};
use crate::live::{Delta, Part, RunEvent};
use crate::visibility::Viewer;

const RUN: HeaderName = HeaderName::from_static("x-run-id");
/// Tells OpenAI's clients not to ask again by themselves: that would be another run.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

pub(super) async fn answer(
    app: App,
    caller: &Caller<RunsWrite>,
    person: UserId,
    asked: &ChatRequest,
    agent: &str,
    mut messages: Vec<Message>,
) -> Result<Response, Problem> {
    let input = messages.pop().filter(|last| matches!(last, Message::User { .. }));
    let input = input.ok_or_else(|| {
        let why = "the last message is the user's";
        Problem::validation(vec![FieldError::new("/messages", why)])
    })?;
    let start = Start {
        agent: agent.to_owned(),
        initiator: person,
        input,
        history: messages.iter().map(storable).collect(),
    };
    let (row, created) = runs::start(&app, &Viewer::of(caller), caller.tenant, start).await?;
    let run = row.run_id;
    let hangup = Hangup::new(&app, caller.tenant, run, person, asked.cancels());
    let watch = Watch::begin(app, caller, row, 0).await.map_err(Problem::internal)?;
    let shape = Shape {
        id: format!("chatcmpl-{run}"),
        model: asked.model.clone(),
        created,
        include_usage: asked.wants_usage(),
    };
    let talk = Talk { watch, hangup, block: Block::default(), run };
    let mut response = if asked.streams() {
        let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
        Sse::new(talk.into_stream(shape)).keep_alive(keep_alive).into_response()
    } else {
        talk.whole(&shape).await
    };
    if let Ok(value) = HeaderValue::from_str(&run.to_string()) {
        response.headers_mut().insert(RUN, value);
    }
    response.headers_mut().insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    Ok(response)
}

/// The snapshot is `jsonb`, which takes no NUL.
fn storable(message: &Message) -> Message {
    let text = serde_json::to_string(message).unwrap_or_default();
    let clean = printable(&text.replace("\\u0000", "\u{fffd}"));
    serde_json::from_str(&clean).unwrap_or_else(|_| message.clone())
}

/// What has been shown of what the model says at the moment.
#[derive(Debug, Default)]
struct Block {
    id: i64,
    shown: String,
    /// Something was said before this block.
    later: bool,
}

/// What a run's next word is to its caller.
enum Word {
    Text(String),
    Nothing,
    Ended { finish: &'static str, usage: Usage },
    Broken { code: &'static servicekit::Code, why: String },
}

struct Talk {
    watch: Watch,
    hangup: Hangup,
    block: Block,
    run: RunId,
}

impl Talk {
    async fn next(&mut self) -> Word {
        match self.watch.next().await {
            Some(Shown::Delta(delta)) => self.block.delta(delta),
            Some(Shown::Record(event)) => self.record(&event),
            None => Word::Broken {
                code: &servicekit::codes::UNAVAILABLE,
                why: format!("the run goes on without you; follow it at /v1/runs/{}", self.run),
            },
        }
    }

    fn record(&mut self, event: &RunEvent) -> Word {
        let data = &event.data;
        match event.kind.as_str() {
            "model_replied" => {
                self.block.replied(data["message"]["content"].as_str().unwrap_or_default())
            }
            "waiting" => self.waiting(data),
            RunEvent::LAST => {
                self.hangup.disarm();
                ended(data)
            }
            _ => Word::Nothing,
        }
    }

    /// For a person nobody waits here.
    fn waiting(&mut self, data: &Value) -> Word {
        let reason = serde_json::from_value(data["reason"].clone()).ok();
        match reason {
            Some(
                reason @ (WaitReason::Approval
                | WaitReason::Input
                | WaitReason::Auth
                | WaitReason::Budget
                | WaitReason::Doubt),
            ) => {
                self.hangup.disarm();
                let why = format!("the run {} waits for {reason}", self.run);
                Word::Broken { code: &codes::RUN_WAITING, why }
            }
            _ => Word::Nothing,
        }
    }

    async fn whole(mut self, shape: &Shape) -> Response {
        let mut text = String::new();
        loop {
            match self.next().await {
                Word::Text(more) => text.push_str(&more),
                Word::Nothing => {}
                Word::Ended { finish, usage } => {
                    let message = json!({ "role": "assistant", "content": text, "refusal": null });
                    return Json(shape.whole(&message, finish, &usage)).into_response();
                }
                Word::Broken { code, why } => return Problem::new(code, why).into_response(),
            }
        }
    }

    fn into_stream(self, shape: Shape) -> impl Stream<Item = Result<Event, Infallible>> {
        let begin = shape.piece(&json!({ "role": "assistant", "content": "" }));
        let rest = stream::unfold(Some((self, shape)), async |talk| {
            let (mut talk, shape) = talk?;
            let (events, over) = match talk.next().await {
                Word::Text(text) => (vec![shape.piece(&json!({ "content": text }))], false),
                Word::Nothing => (Vec::new(), false),
                Word::Ended { finish, usage } => (shape.end(finish, &usage), true),
                Word::Broken { code, why } => (vec![shape::broken(code.name, &why)], true),
            };
            Some((events, (!over).then_some((talk, shape))))
        });
        let all = stream::once(std::future::ready(vec![begin])).chain(rest);
        all.map(VecDeque::from).flat_map(stream::iter).map(Ok)
    }
}

impl Block {
    fn delta(&mut self, delta: Delta) -> Word {
        if delta.part != Part::Text {
            return Word::Nothing;
        }
        if delta.block != self.id {
            self.id = delta.block;
            self.shown.clear();
        }
        self.say(&delta.text)
    }

    /// What the model has said as a whole: what was lost on the way is made up for.
    fn replied(&mut self, content: &str) -> Word {
        let rest = content.strip_prefix(self.shown.as_str()).unwrap_or(content).to_owned();
        let word = self.say(&rest);
        self.later |= !content.is_empty();
        self.shown.clear();
        self.id = 0;
        word
    }

    fn say(&mut self, text: &str) -> Word {
        if text.is_empty() {
            return Word::Nothing;
        }
        let between = if self.later && self.shown.is_empty() { "\n\n" } else { "" };
        self.shown.push_str(text);
        Word::Text(format!("{between}{text}"))
    }
}

fn ended(data: &Value) -> Word {
    let usage = serde_json::from_value(data["usage"].clone()).unwrap_or_default();
    let reason = serde_json::from_value(data["finish_reason"].clone()).ok();
    match reason {
        Some(FinishReason::Stop) => Word::Ended { finish: "stop", usage },
        Some(FinishReason::MaxSteps) => Word::Ended { finish: "length", usage },
        _ => {
            let why = data["error"].as_str().unwrap_or("the run did not succeed").to_owned();
            Word::Broken { code: &codes::RUN_FAILED, why }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(word: Word) -> String {
        match word {
            Word::Text(text) => text,
            _ => String::new(),
        }
    }

    #[test]
    fn what_was_lost_on_the_way_is_made_up_for_and_nothing_is_said_twice() {
        let mut block = Block::default();
        let delta =
            |block, text: &str| Delta { block, part: Part::Text, offset: 0, text: text.into() };

        let mut said = told(block.delta(delta(4, "Hel")));
        said += &told(block.replied("Hello"));
        said += &told(block.replied(""));
        said += &told(block.delta(delta(9, "Wor")));
        said += &told(block.delta(delta(9, "ld")));
        said += &told(block.replied("World"));
        said += &told(block.replied("!"));

        assert_eq!(said, "Hello\n\nWorld\n\n!");
    }

    #[test]
    fn a_run_that_did_not_succeed_is_no_answer() {
        let data = json!({ "finish_reason": "error", "error": "the model is gone", "usage": {} });
        assert!(matches!(ended(&data), Word::Broken { why, .. } if why == "the model is gone"));
        let data = json!({ "finish_reason": "max_steps", "usage": { "output_tokens": 3 } });
        assert!(
            matches!(ended(&data), Word::Ended { finish: "length", usage } if usage.output_tokens == 3)
        );
    }
}
