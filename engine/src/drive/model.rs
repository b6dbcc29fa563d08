//! Asking the model. A model call changes nothing in the world, so whoever takes a run over simply asks again.

use std::sync::Arc;
use std::time::Duration;

use agentcore::{
    Failure, FailureCode, Happened, Message, Model, ModelError, ModelEvent, ModelRequest, Reply,
    RetryPolicy, ToolSpec, split_model_name,
};
use futures::StreamExt as _;
use tokio::time::Instant;

use super::{Cx, Run};
use crate::error::Error;
use crate::live::{Part, Stage};
use crate::models;
use crate::record::Record;

/// Asks until there is a reply or no hope, and takes it in.
pub(super) async fn call(cx: &Cx<'_>, run: &mut Run) -> Result<(), Error> {
    let fallback = cx.snapshot.fallback_model.iter();
    let names: Vec<&String> = std::iter::once(&cx.snapshot.model).chain(fallback).collect();
    let mut attempt = 0;
    let mut failure = None;
    for (place, name) in names.iter().enumerate() {
        match ask(cx, run, name, &mut attempt).await? {
            Ok(reply) => return replied(cx, run, reply),
            Err(error) => {
                if place + 1 < names.len() {
                    retried(cx, run, attempt, error.to_string(), Duration::ZERO);
                    attempt += 1;
                }
                failure = Some(error);
            }
        }
    }
    let failure = failure.map_or_else(no_model, Failure::from);
    cx.journal.note(Record::ModelFailed { failure: failure.clone() });
    run.step(Happened::ModelFailed(failure));
    Ok(())
}

fn no_model() -> Failure {
    Failure { code: FailureCode::ModelRejected, message: "the agent has no model".into() }
}

fn replied(cx: &Cx<'_>, run: &mut Run, reply: Reply) -> Result<(), Error> {
    let (usage, spoke) = (reply.usage, !reply.content.is_empty());
    run.step(Happened::Replied(reply));
    // Kept as the loop has taken it in: with the ids it has given to calls that had none.
    let said = run
        .state
        .messages
        .iter()
        .rev()
        .find(|message| matches!(message, Message::Assistant { .. }));
    let said = said.ok_or_else(|| anyhow::anyhow!("the reply was not taken in"))?;
    let message = cx.journal.keep(said).map_err(anyhow::Error::from)?;
    if spoke {
        run.output = Some(message);
    }
    let step = run.state.steps;
    cx.journal.note(Record::ModelReplied { step, message, usage });
    let total = run.state.usage;
    cx.journal.change(|change| {
        change.usage = Some(total);
        change.steps = Some(step);
    });
    Ok(())
}

fn retried(cx: &Cx<'_>, run: &Run, attempt: u32, error: String, delay: Duration) {
    let delay_ms = delay.as_millis() as u64;
    cx.journal.note(Record::ModelRetried { step: run.state.steps + 1, attempt, error, delay_ms });
}

/// Asks one model, again and again as the policy says.
async fn ask(
    cx: &Cx<'_>,
    run: &Run,
    name: &str,
    attempt: &mut u32,
) -> Result<Result<Reply, ModelError>, Error> {
    let policy = RetryPolicy::default();
    let mut tried = 0;
    loop {
        cx.journal.note(Record::ModelCalled {
            step: run.state.steps + 1,
            model: name.to_owned(),
            attempt: *attempt,
            read: run.state.messages.len(),
        });
        let block = cx.journal.commit().await?;
        let error = match once(cx, run, name, block).await {
            Ok(reply) => return Ok(Ok(reply)),
            Err(error) => error,
        };
        let Some(delay) = policy.delay(tried, &error, rand::random()) else {
            return Ok(Err(error));
        };
        tracing::info!(%error, ?delay, "the model is asked again");
        retried(cx, run, *attempt, error.to_string(), delay);
        cx.journal.commit().await?;
        (tried, *attempt) = (tried + 1, *attempt + 1);
        tokio::time::sleep(delay).await;
    }
}

async fn once(cx: &Cx<'_>, run: &Run, name: &str, block: i64) -> Result<Reply, ModelError> {
    let model = resolve(cx, name).await?;
    let started = Instant::now();
    let mut events = model.stream(request(cx, run, name));
    Stage::open_block(cx.active, block);
    let mut deltas = Deltas::new(cx.app.runs.coalesce);
    loop {
        let event = tokio::select! {
            biased;
            () = deltas.due() => {
                deltas.show(cx).await;
                continue;
            }
            event = events.next() => event,
        };
        match event.transpose()? {
            Some(ModelEvent::TextDelta(text)) => deltas.push(cx, Part::Text, &text).await,
            Some(ModelEvent::ReasoningDelta(text)) => deltas.push(cx, Part::Reasoning, &text).await,
            Some(ModelEvent::ToolCallDelta { .. }) => {}
            Some(ModelEvent::Done(reply)) => {
                deltas.show(cx).await;
                metrics::histogram!("engine_model_seconds").record(started.elapsed().as_secs_f64());
                return Ok(reply);
            }
            None => {
                return Err(ModelError::Cut { message: "the stream ended without a reply".into() });
            }
        }
    }
}

async fn resolve(cx: &Cx<'_>, name: &str) -> Result<Arc<dyn Model>, ModelError> {
    let mut snapshot = cx.snapshot.clone();
    name.clone_into(&mut snapshot.model);
    let resolved = models::resolve(cx.app, cx.claimed.tenant, cx.claimed.run, &snapshot).await;
    resolved.map_err(|error| match error {
        Error::Peer(error) if error.passing() => {
            ModelError::Transient { status: None, message: error.to_string(), retry_after: None }
        }
        Error::Db(error) => {
            ModelError::Transient { status: None, message: error.to_string(), retry_after: None }
        }
        error => ModelError::Rejected { status: 422, message: error.to_string() },
    })
}

fn request(cx: &Cx<'_>, run: &Run, name: &str) -> ModelRequest {
    let spec = |tool: &crate::snapshot::SnapshotTool| ToolSpec {
        name: tool.name.clone(),
        description: tool.description.clone(),
        parameters: tool.parameters.clone(),
        effect: tool.effect,
        timeout: Duration::from_millis(tool.timeout_ms.into()),
    };
    let (_, model) = split_model_name(name);
    ModelRequest {
        model: model.to_owned(),
        messages: run.state.prompt(),
        tools: cx.snapshot.tools.iter().map(spec).collect(),
        temperature: Some(cx.snapshot.temperature),
        max_tokens: cx.snapshot.max_tokens,
    }
}

/// Gathers words for a moment before viewers get them.
struct Deltas {
    pause: Duration,
    due: Option<Instant>,
    waiting: Option<(Part, String)>,
}

impl Deltas {
    fn new(pause: Duration) -> Self {
        Self { pause, due: None, waiting: None }
    }

    async fn due(&self) {
        match self.due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    async fn push(&mut self, cx: &Cx<'_>, part: Part, text: &str) {
        if self.waiting.as_ref().is_some_and(|(waiting, _)| *waiting != part) {
            self.show(cx).await;
        }
        let (_, waiting) = self.waiting.get_or_insert_with(|| (part, String::new()));
        waiting.push_str(text);
        self.due.get_or_insert_with(|| Instant::now() + self.pause);
    }

    async fn show(&mut self, cx: &Cx<'_>) {
        self.due = None;
        if let Some((part, text)) = self.waiting.take() {
            cx.app.stage.say(cx.active, part, &text).await;
        }
    }
}
