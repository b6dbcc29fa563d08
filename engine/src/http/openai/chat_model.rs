//! A completion by a model: one call, metered.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use agentcore::{
    Failure, Message, Model, ModelError, ModelEvent, ModelRequest, Reply, RetryPolicy,
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
use servicekit::{Caller, Once, Problem, scope::RunsWrite};
use shared_models::{MessageId, TenantId};

use super::ask::ChatRequest;
use super::meter::Meter;
use super::shape::{self, Shape};
use crate::app::App;
use crate::committer::printable_json;
use crate::models;
use crate::store;

type Events = BoxStream<'static, Result<ModelEvent, ModelError>>;

pub(super) async fn answer(
    app: App,
    tenant: TenantId,
    asked: &ChatRequest,
    messages: Vec<Message>,
) -> Result<Response, Problem> {
    let streams = asked.streams();
    let talk = begin(app, tenant, asked, messages).await?;
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
        let talk = begin(app.clone(), caller.tenant, asked, messages).await?;
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
    tenant: TenantId,
    asked: &ChatRequest,
    messages: Vec<Message>,
) -> Result<Talk, Problem> {
    let invalid = |error| Problem::validation(vec![error]);
    let mut tx = app.db.begin(tenant).await?;
    let bound = models::bind(&mut tx, &asked.model, None).await?;
    app.models.check_reachable(&bound)?;
    let created = store::price::now(&mut tx).await?.timestamp();
    drop(tx);
    let model = models::open_for_tenant(&app, tenant, &bound).await?;
    let request = ModelRequest {
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
    let meter = Meter::begin(&app, tenant, &bound).await?;
    let (first, events) =
        open(&model, &request).await.map_err(|failure| shape::refusal(&failure))?;
    Ok(Talk { events, shape, meter, ready: VecDeque::from([first]), spoke: false })
}

/// The first word of an answer. Until it comes, a provider in trouble is asked again.
async fn open(
    model: &Arc<dyn Model>,
    request: &ModelRequest,
) -> Result<(ModelEvent, Events), Failure> {
    let policy = RetryPolicy::default();
    let mut tried = 0;
    loop {
        let mut events = model.stream(request);
        let error = match events.next().await {
            Some(Ok(first)) => return Ok((first, events)),
            Some(Err(error)) => error,
            None => return Err(cut()),
        };
        let Some(delay) = policy.delay(tried, &error, rand::random()) else {
            return Err(error.into());
        };
        tried += 1;
        tokio::time::sleep(delay).await;
    }
}

fn cut() -> Failure {
    let code = agentcore::FailureCode::ModelUnavailable;
    Failure { code, message: "the stream ended without a reply".into() }
}

struct Talk {
    events: Events,
    shape: Shape,
    meter: Meter,
    ready: VecDeque<ModelEvent>,
    /// Whether any text has been shown.
    spoke: bool,
}

impl Talk {
    async fn next(&mut self) -> Option<Result<ModelEvent, ModelError>> {
        match self.ready.pop_front() {
            Some(event) => Some(Ok(event)),
            None => self.events.next().await,
        }
    }

    async fn whole(mut self) -> Result<Reply, Problem> {
        loop {
            match self.next().await {
                Some(Ok(ModelEvent::Done(reply))) => {
                    self.meter.end(&reply.usage).await;
                    return Ok(reply);
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(shape::refusal(&error.into())),
                None => return Err(shape::refusal(&cut())),
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
            Some(Ok(ModelEvent::TextDelta(text))) => {
                self.spoke = true;
                (vec![self.shape.piece(&json!({ "content": text }))], false)
            }
            Some(Ok(ModelEvent::ReasoningDelta(text))) => {
                (vec![self.shape.piece(&json!({ "reasoning_content": text }))], false)
            }
            Some(Ok(ModelEvent::ToolCallDelta { index, id, name, arguments })) => {
                let mut call = json!({ "index": index, "function": { "arguments": arguments } });
                if let Some(id) = id {
                    (call["id"], call["type"]) = (json!(id), json!("function"));
                }
                if let Some(name) = name {
                    call["function"]["name"] = json!(name);
                }
                (vec![self.shape.piece(&json!({ "tool_calls": [call] }))], false)
            }
            Some(Ok(ModelEvent::Done(reply))) => (self.end(&reply).await, true),
            Some(Err(error)) => {
                let failure = Failure::from(error);
                (vec![shape::broken("model_failed", &failure.message)], true)
            }
            None => (vec![shape::broken("model_failed", &cut().message)], true),
        }
    }

    async fn end(&mut self, reply: &Reply) -> Vec<Event> {
        self.meter.end(&reply.usage).await;
        let mut events = Vec::new();
        if !self.spoke && !reply.content.is_empty() {
            events.push(self.shape.piece(&json!({ "content": reply.content })));
        }
        events.extend(self.shape.end(shape::finish(reply), &reply.usage));
        events
    }
}
