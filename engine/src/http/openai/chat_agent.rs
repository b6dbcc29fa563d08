//! A completion by an agent: a durable run.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use agentcore::{FinishReason, Message};
use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{
        IntoResponse as _, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{Stream, StreamExt as _, stream};
use serde_json::{Value, json};
use servicekit::{Caller, FieldError, Once, Problem, scope::RunsWrite};
use shared_models::{RunId, Usage, UserId, WaitReason, WhenBusy};

use super::ask::ChatRequest;
use super::hangup::Hangup;
use super::shape::{self, Shape};
use crate::app::App;
use crate::codes;
use crate::committer::printable_json;
use crate::http::runs::{
    self, Start,
    watch::{Shown, Watch},
};
use crate::live::{Delta, Part, RunEvent};
use crate::store;
use crate::visibility::Viewer;

const RUN: HeaderName = HeaderName::from_static("x-run-id");
/// Tells OpenAI's clients not to ask again by themselves: that would be another run.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

pub(super) async fn answer(
    app: App,
    (caller, person): (&Caller<RunsWrite>, UserId),
    mut once: Once,
    (asked, agent): (&ChatRequest, &str),
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
        end_user: asked.user.clone(),
        variables: asked.variables.clone(),
        conversation: asked.conversation_id,
        when_busy: asked.when_busy.unwrap_or(WhenBusy::Enqueue),
        output: asked.output().map_err(|error| Problem::validation(vec![error]))?,
    };
    let hangup = |run| Hangup::new(&app, caller.tenant, run, person, asked.cancels());
    let (row, hangup) = run(&app, caller, &mut once, (asked, start, hangup)).await?;
    let (run, structured) = (row.run_id, row.structured);
    let shape = Shape {
        id: format!("chatcmpl-{run}"),
        model: asked.model.clone(),
        created: row.created_at.timestamp(),
        include_usage: asked.wants_usage(),
    };
    let watch = Watch::begin(app, caller, row, 0).await.map_err(Problem::internal)?;
    let answer = structured.then(String::new);
    let talk = Talk { watch, hangup, block: Block::default(), run, answer };
    let mut response = if asked.streams() {
        let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
        Sse::new(talk.into_stream(shape)).keep_alive(keep_alive).into_response()
    } else {
        talk.whole(&shape).await
    };
    if let Ok(value) = HeaderValue::from_str(&run.to_string()) {
        response.headers_mut().insert(RUN, value);
    }
    if !once.is_asked() {
        response.headers_mut().insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    Ok(response)
}

/// The run that answers: a new one, or the one that answered the same request before.
async fn run(
    app: &App,
    caller: &Caller<RunsWrite>,
    once: &mut Once,
    (asked, start, hangup): (&ChatRequest, Start, impl Fn(RunId) -> Hangup),
) -> Result<(store::run::Row, Hangup), Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    if let Some(stored) = once.answered(&mut tx, caller, asked).await? {
        let run = serde_json::from_value(stored["run_id"].clone()).map_err(Problem::internal)?;
        let row = runs::visible(&mut tx, caller, run).await?;
        return Ok((row, hangup(run)));
    }
    let (row, interrupted) = runs::start(app, &mut tx, &Viewer::of(caller), start).await?;
    once.remember(&mut tx, StatusCode::OK, &json!({ "run_id": row.run_id })).await?;
    let hangup = hangup(row.run_id);
    tx.commit().await?;
    app.announce_with(&interrupted).await;
    Ok((row, hangup))
}

/// The snapshot is `jsonb`, which takes no NUL.
fn storable(message: &Message) -> Message {
    let clean = serde_json::to_value(message).map(printable_json);
    clean.and_then(serde_json::from_value).unwrap_or_else(|_| message.clone())
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
    /// `text` is what has not been shown yet.
    Ended {
        finish: &'static str,
        usage: Usage,
        text: String,
    },
    Broken {
        code: &'static servicekit::Code,
        why: String,
    },
}

struct Talk {
    watch: Watch,
    hangup: Hangup,
    block: Block,
    run: RunId,
    /// Of an answer that has to be JSON only the last word counts: what the model has said so far.
    answer: Option<String>,
}

impl Talk {
    async fn next(&mut self) -> Word {
        match self.watch.next().await {
            Some(Shown::Delta(_)) if self.answer.is_some() => Word::Nothing,
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
                let content = data["message"]["content"].as_str().unwrap_or_default();
                match &mut self.answer {
                    Some(answer) if !content.is_empty() => content.clone_into(answer),
                    Some(_) => {}
                    None => return self.block.replied(content),
                }
                Word::Nothing
            }
            "waiting" => self.waiting(data),
            "paused" => {
                self.hangup.disarm();
                let why = format!("the run {} is paused", self.run);
                Word::Broken { code: &codes::RUN_WAITING, why }
            }
            RunEvent::LAST => {
                self.hangup.disarm();
                ended(data, self.answer.take().unwrap_or_default())
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
                Word::Ended { finish, usage, text: rest } => {
                    text.push_str(&rest);
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
                Word::Ended { finish, usage, text } => {
                    let rest = (!text.is_empty()).then(|| shape.piece(&json!({ "content": text })));
                    (rest.into_iter().chain(shape.end(finish, &usage)).collect(), true)
                }
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

fn ended(data: &Value, text: String) -> Word {
    let usage = serde_json::from_value(data["usage"].clone()).unwrap_or_default();
    let reason = serde_json::from_value(data["finish_reason"].clone()).ok();
    match reason {
        Some(FinishReason::Stop) => Word::Ended { finish: "stop", usage, text },
        Some(FinishReason::MaxSteps) => Word::Ended { finish: "length", usage, text },
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
        let delta = |block, text: &str| Delta {
            path: Vec::new(),
            block,
            part: Part::Text,
            offset: 0,
            text: text.into(),
        };

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
        assert!(
            matches!(ended(&data, String::new()), Word::Broken { why, .. } if why == "the model is gone")
        );
        let data = json!({ "finish_reason": "max_steps", "usage": { "output_tokens": 3 } });
        assert!(
            matches!(ended(&data, "x".into()), Word::Ended { finish: "length", usage, text } if usage.output_tokens == 3 && text == "x")
        );
    }
}
