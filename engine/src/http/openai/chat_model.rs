//! A completion by a model: one call, metered.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use agentcore::{
    Failure, Message, Model, ModelError, ModelErrorKind, ModelEvent, ModelRequest, Reply,
    ReplyFinish, RetryPolicy,
};
use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{
        IntoResponse as _, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use servicekit::{Caller, Once, Problem, codes as shared, scope::RunsWrite};
use shared_models::MessageId;

use super::ask::ChatRequest;
use super::meter::{Meter, Payer};
use super::shape::{self, Shape};
use crate::app::App;
use crate::codes;
use crate::committer::printable_json;
use crate::error::Error;
use crate::models;
use crate::store;

type Events = BoxStream<'static, Result<ModelEvent, ModelError>>;

pub(super) async fn answer(
    app: App,
    payer: Payer,
    asked: &ChatRequest,
    messages: Vec<Message>,
) -> Result<Response, Problem> {
    let streams = asked.streams();
    let talk = begin(app, payer, asked, messages).await?;
    if streams {
        let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
        return Ok(Sse::new(talk.into_stream()).keep_alive(keep_alive).into_response());
    }
    let shape = talk.shape.clone();
    Ok(Json(said(&shape, &talk.whole().await?)).into_response())
}

/// The same with a key that makes a repeated request harmless: what the model said is kept, and said again. Two requests
/// at the same time both ask the model, and are answered alike.
pub(super) async fn kept(
    app: App,
    caller: &Caller<RunsWrite>,
    mut once: Once,
    asked: &ChatRequest,
    messages: Vec<Message>,
) -> Result<Response, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let mut stored = once.answered(&mut tx, caller, asked).await?;
    drop(tx);
    let replayed = stored.is_some();
    if stored.is_none() {
        let payer = Payer { tenant: caller.tenant, user: caller.user() };
        let talk = begin(app.clone(), payer, asked, messages).await?;
        let shape = talk.shape.clone();
        let answer = printable_json(json!({ "shape": shape, "reply": talk.whole().await? }));
        let mut tx = app.db.begin(caller.tenant).await?;
        stored = once.answered(&mut tx, caller, asked).await?;
        if stored.is_none() {
            once.remember(&mut tx, StatusCode::OK, &answer).await?;
            tx.commit().await?;
            stored = Some(answer);
        }
    }
    let Answered { shape, reply } =
        serde_json::from_value(stored.unwrap_or_default()).map_err(Problem::internal)?;
    let mut response = if asked.streams() {
        let events =
            shape.in_one_piece(&shape::message(&reply), shape::finish(&reply), &reply.usage);
        Sse::new(stream::iter(events.into_iter().map(Ok::<_, Infallible>))).into_response()
    } else {
        Json(said(&shape, &reply)).into_response()
    };
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What is kept of an answer.
#[derive(Deserialize)]
struct Answered {
    shape: Shape,
    reply: Reply,
}

fn said(shape: &Shape, reply: &Reply) -> Value {
    shape.whole(&shape::message(reply), shape::finish(reply), &reply.usage)
}

/// Asks the model.
async fn begin(
    app: App,
    payer: Payer,
    asked: &ChatRequest,
    messages: Vec<Message>,
) -> Result<Talk, Problem> {
    let invalid = |error| Problem::validation(vec![error]);
    let mut tx = app.db.begin(payer.tenant).await?;
    let bound = models::bind(&mut tx, &asked.model, None).await?;
    app.models.check_reachable(&bound)?;
    let created = store::price::now(&mut tx).await?.timestamp();
    drop(tx);
    let model = models::open_for_tenant(&app, payer.tenant, &bound).await?;
    let mut request = ModelRequest {
        model: bound.model.clone(),
        messages,
        tools: asked.tools().into_iter().collect(),
        tool_choice: asked.tool_choice().map_err(invalid)?,
        output: asked.output().map_err(invalid)?,
        temperature: asked.temperature,
        max_tokens: asked.most_tokens(),
        ..ModelRequest::default()
    };
    let id = format!("chatcmpl-{}", MessageId::mint().uuid().simple());
    let include_usage = asked.wants_usage();
    let shape = Shape { id, model: asked.model.clone(), created, include_usage };
    let mut meter = Meter::begin(&app, payer, &bound, &mut request).await?;
    let (first, events) = open(&model, &mut request, &mut meter).await?;
    let ready = VecDeque::from([first]);
    Ok(Talk { events, shape, meter, ready, spoke: false, said: String::new() })
}

/// The first word of an answer. Until it comes, a provider in trouble is asked again.
async fn open(
    model: &Arc<dyn Model>,
    request: &mut ModelRequest,
    meter: &mut Meter,
) -> Result<(ModelEvent, Events), Problem> {
    let policy = RetryPolicy::default();
    let mut tried = 0;
    loop {
        let mut events = model.stream(request);
        let error = match meter.within(events.next()).await? {
            Some(Ok(first)) => return Ok((first, events)),
            Some(Err(error)) => error,
            None => cut(),
        };
        let Some(pause) = policy.delay(tried, &error, rand::random()) else {
            meter.failed(&error).await;
            return Err(shape::refusal(&error.into()));
        };
        tried += 1;
        meter.again((&error, pause), request).await?;
    }
}

fn cut() -> ModelError {
    ModelError::new(ModelErrorKind::Cut, "the stream ended without a reply")
}

/// Why an answer breaks off.
enum Broken {
    Model(ModelError),
    /// There is no more time, or nobody knows whether there is.
    Budget(Error),
}

impl Broken {
    fn problem(self) -> Problem {
        match self {
            Self::Model(error) => shape::refusal(&error.into()),
            Self::Budget(error) => error.into(),
        }
    }

    /// The same behind words that were said.
    fn event(self) -> Event {
        match self {
            Self::Model(error) => shape::broken("model_failed", &Failure::from(error).message),
            Self::Budget(error @ Error::BudgetExhausted { .. }) => {
                shape::broken(codes::BUDGET_EXHAUSTED.name, &error.to_string())
            }
            Self::Budget(error) => {
                tracing::warn!(%error, "a model's answer is broken off");
                shape::broken(shared::UNAVAILABLE.name, "budgets cannot be asked now")
            }
        }
    }
}

struct Talk {
    events: Events,
    shape: Shape,
    meter: Meter,
    ready: VecDeque<ModelEvent>,
    /// Whether any text has been shown.
    spoke: bool,
    /// All text so far.
    said: String,
}

impl Talk {
    /// What the model says next. One for whom time runs out is ended as one that has said as much as it may.
    async fn next(&mut self) -> Result<ModelEvent, Broken> {
        let event = match self.ready.pop_front() {
            Some(event) => event,
            None => match self.meter.within(self.events.next()).await {
                Ok(event) => event.unwrap_or_else(|| Err(cut())).map_err(Broken::Model)?,
                Err(Error::BudgetExhausted { .. }) if !self.said.is_empty() => {
                    let (content, usage) = (self.said.clone(), self.meter.estimate());
                    let finish = ReplyFinish::Length;
                    ModelEvent::Done(Reply { content, usage, finish, ..Reply::default() })
                }
                Err(error) => return Err(Broken::Budget(error)),
            },
        };
        match &event {
            ModelEvent::TextDelta(text) => {
                self.meter.hear(text.len());
                self.said.push_str(text);
            }
            ModelEvent::ReasoningDelta(text) => self.meter.hear(text.len()),
            ModelEvent::ToolCallDelta { arguments, .. } => self.meter.hear(arguments.len()),
            ModelEvent::Done(_) => {}
        }
        Ok(event)
    }

    async fn whole(mut self) -> Result<Reply, Problem> {
        loop {
            if let ModelEvent::Done(reply) = self.next().await.map_err(Broken::problem)? {
                self.meter.end(&reply).await;
                return Ok(reply);
            }
        }
    }

    fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        let begin = self.shape.piece(&json!({ "role": "assistant", "content": "" }));
        let rest = stream::unfold(Some(self), async |talk| {
            let mut talk = talk?;
            let (events, over) = talk.pieces().await;
            Some((events, (!over).then_some(talk)))
        });
        stream::once(std::future::ready(vec![begin])).chain(rest).flat_map(stream::iter).map(Ok)
    }

    /// What comes next, and whether that was all.
    async fn pieces(&mut self) -> (Vec<Event>, bool) {
        match self.next().await {
            Ok(ModelEvent::TextDelta(text)) => {
                self.spoke = true;
                (vec![self.shape.piece(&json!({ "content": text }))], false)
            }
            Ok(ModelEvent::ReasoningDelta(text)) => {
                (vec![self.shape.piece(&json!({ "reasoning_content": text }))], false)
            }
            Ok(ModelEvent::ToolCallDelta { index, id, name, arguments }) => {
                let mut call = json!({ "index": index, "function": { "arguments": arguments } });
                if let Some(id) = id {
                    (call["id"], call["type"]) = (json!(id), json!("function"));
                }
                if let Some(name) = name {
                    call["function"]["name"] = json!(name);
                }
                (vec![self.shape.piece(&json!({ "tool_calls": [call] }))], false)
            }
            Ok(ModelEvent::Done(reply)) => (self.end(&reply).await, true),
            Err(broken) => (vec![broken.event()], true),
        }
    }

    async fn end(&mut self, reply: &Reply) -> Vec<Event> {
        self.meter.end(reply).await;
        let mut events = Vec::new();
        if !self.spoke && !reply.content.is_empty() {
            events.push(self.shape.piece(&json!({ "content": reply.content })));
        }
        events.extend(self.shape.end(shape::finish(reply), &reply.usage));
        events
    }
}
