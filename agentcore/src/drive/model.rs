//! Asking the model: the agent's own, then the one it falls back on.

use std::sync::Arc;

use shared_models::message::Message;

use super::Drive;
use crate::agent::{Agent, Inner, ModelChoice, split_model_name};
use crate::conversation::Failure;
use crate::event::{ContextChange, EventKind, StatusChange};
use crate::hooks::{HookData, HookPoint};
use crate::model::{Model, ModelError, ModelEvent, ModelRequest, Reply, ToolSet};
use crate::options::RunOptions;
use crate::providers;
use crate::result::RunError;
use crate::retry::{Progress, complete_with_retries};
use crate::step::Happened;
use crate::window::Window;

/// Whom a run asks.
pub(super) struct Models {
    main: Asked,
    fallback: Option<Asked>,
}

struct Asked {
    provider: Arc<dyn Model>,
    /// The model's name at its provider.
    model: String,
}

impl Models {
    pub(super) fn resolve(agent: &Agent, options: &RunOptions) -> Result<Self, RunError> {
        let inner = &*agent.inner;
        let (given, held) = (options.provider.as_ref(), inner.provider.as_ref());
        let missing = |model: &ModelChoice, why| RunError::NoProvider {
            agent: agent.name().to_owned(),
            model: model.name(),
            why,
        };
        let main = match &options.model {
            // The agent's own provider is for the agent's own model, but it may well have others.
            Some(model) => asked(model, given, held)
                .or_else(|why| asked(model, held, None).map_err(|_| missing(model, why)))?,
            None => asked(&inner.model, given.or(held), None)
                .map_err(|why| missing(&inner.model, why))?,
        };
        let fallback = inner
            .fallback
            .as_ref()
            .map(|model| asked(model, None, given.or(held)).map_err(|why| missing(model, why)));
        Ok(Self { main, fallback: fallback.transpose()? })
    }
}

/// How much the main model can read.
pub(super) fn window(agent: &Inner, options: &RunOptions) -> Option<Window> {
    let other = options.model.as_ref().and_then(|model| Window::of_model(&model.name()));
    other.or(agent.window)
}

/// The provider that was given for this very model; else the one at hand, if it goes by the right name; else the
/// process's.
fn asked(
    choice: &ModelChoice,
    given: Option<&Arc<dyn Model>>,
    at_hand: Option<&Arc<dyn Model>>,
) -> Result<Asked, String> {
    let name = match choice {
        ModelChoice::Named(name) => name,
        ModelChoice::Given(provider) => {
            let model = provider.name().to_owned();
            return Ok(Asked { provider: given.unwrap_or(provider).clone(), model });
        }
    };
    let (provider, model) = split_model_name(name);
    let at_hand = at_hand.filter(|at_hand| at_hand.name() == provider);
    if let Some(provider) = given.or(at_hand) {
        return Ok(Asked { provider: provider.clone(), model: model.to_owned() });
    }
    let (provider, model) = providers::resolve(name)?;
    Ok(Asked { provider, model })
}

impl Drive<'_> {
    pub(super) async fn call_model(&self) -> Result<Happened, Failure> {
        let step = self.state.steps + 1;
        let messages = self.state.prompt();
        self.fire(HookPoint::PreLlmCall, || HookData::PreLlmCall {
            agent: self.handle.clone(),
            messages: messages.clone().into(),
        })
        .await?;
        self.cx.watch.emit(step, || EventKind::Step);
        let reply = match self.ask(step, messages, self.offered(), true).await {
            Ok(reply) => reply,
            Err(error) => return Ok(Happened::ModelFailed(error.into())),
        };
        self.cx.watch.emit(step, || EventKind::Usage { usage: reply.usage });
        if !self.agent.hooks.has(HookPoint::PostLlmCall) {
            return Ok(Happened::Replied(reply));
        }
        let response = Arc::new(reply);
        let told = HookData::PostLlmCall { agent: self.handle.clone(), response: response.clone() };
        self.fire(HookPoint::PostLlmCall, || told).await?;
        Ok(Happened::Replied(Arc::unwrap_or_clone(response)))
    }

    /// Without a summary the conversation goes on as long as it is; the model may then find it too long.
    pub(super) async fn summarise(&self, upto: usize) -> Happened {
        let step = self.state.steps + 1;
        let prompt = self.state.summary_prompt(upto);
        match self.ask(step, prompt, ToolSet::default(), false).await {
            Ok(reply) if !reply.content.trim().is_empty() => {
                self.cx.watch.emit(step, || {
                    let messages = self.state.messages.len();
                    EventKind::Context(ContextChange::Summarised { summarised: upto, messages })
                });
                Happened::Summarised { upto, text: reply.content, usage: reply.usage }
            }
            Ok(_) => Happened::NotSummarised,
            Err(error) => {
                tracing::warn!(agent = self.handle.name(), %error, "no summary to be had");
                Happened::NotSummarised
            }
        }
    }

    async fn ask(
        &self,
        step: u32,
        messages: Vec<Message>,
        tools: ToolSet,
        is_answer: bool,
    ) -> Result<Reply, ModelError> {
        let Models { main, fallback } = &self.models;
        let output = self.agent.output.as_ref().filter(|_| is_answer);
        let mut request = ModelRequest {
            model: main.model.clone(),
            messages,
            tools,
            output: output.map(|output| output.form.clone()),
            temperature: Some(self.agent.temperature),
            max_tokens: self.agent.max_tokens,
            ..ModelRequest::default()
        };
        let error = match self.ask_one(step, main, &request, is_answer).await {
            Ok(reply) => return Ok(reply),
            Err(error) => error,
        };
        let Some(fallback) = fallback else { return Err(error) };
        tracing::warn!(agent = self.handle.name(), %error, model = fallback.model, "falling back");
        self.cx.watch.emit(step, || {
            let (model, error) = (fallback.model.clone(), error.to_string());
            EventKind::Status(StatusChange::FallingBack { model, error })
        });
        request.model.clone_from(&fallback.model);
        self.ask_one(step, fallback, &request, is_answer).await
    }

    async fn ask_one(
        &self,
        step: u32,
        asked: &Asked,
        request: &ModelRequest,
        shown: bool,
    ) -> Result<Reply, ModelError> {
        let show = |progress| match progress {
            Progress::Event(ModelEvent::TextDelta(text)) if shown => {
                self.cx.watch.emit(step, || EventKind::Text { text });
            }
            Progress::Event(ModelEvent::ReasoningDelta(text)) if shown => {
                self.cx.watch.emit(step, || EventKind::Reasoning { text });
            }
            // A call is shown when it is complete.
            Progress::Event(_) => {}
            Progress::Retrying { attempt, error, delay: _ } => self.cx.watch.emit(step, || {
                let error = error.to_string();
                EventKind::Status(StatusChange::Retrying { attempt, error })
            }),
        };
        complete_with_retries(&*asked.provider, request, self.retries, show).await
    }
}
