//! Calling the tools of a turn, all at once.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use shared_models::message::ToolCall;

use super::{Drive, shared};
use crate::agent::Held;
use crate::artifacts::{self, ArtifactStore, RetrieveArtifact};
use crate::conversation::{Answer, Failure};
use crate::event::{ContextChange, EventKind};
use crate::hooks::{HookData, HookPoint};
use crate::model::ToolSet;
use crate::step::Happened;
use crate::tool::{Tool, ToolCx, ToolError, ToolSpec, call_checked};
use crate::validate::Schema;

/// Long results of a run, and the tools a model is offered once there are some.
pub(super) struct Offload {
    store: Arc<dyn ArtifactStore>,
    retrieve: Option<Held>,
    tools: ToolSet,
}

impl Drive<'_> {
    /// The tools the model may call now.
    pub(super) fn offered(&self) -> ToolSet {
        let own = self.own_tools();
        if self.beside.is_empty() {
            return own;
        }
        let all = || own.iter().chain(&self.beside).cloned().collect();
        if self.offload.get().is_some() { all() } else { self.with_beside.get_or_init(all).clone() }
    }

    fn own_tools(&self) -> ToolSet {
        if self.agent.artifacts.is_some() {
            return self.offload().tools.clone();
        }
        let offload = self.offload.get();
        offload.map_or_else(|| self.agent.tools.specs().clone(), |offload| offload.tools.clone())
    }

    /// The answers in the order in which they came.
    pub(super) async fn call_tools(&self, calls: Vec<ToolCall>) -> Result<Vec<Happened>, Failure> {
        for call in &calls {
            self.cx.watch.emit(self.state.steps, || EventKind::ToolCall {
                tool_name: call.name.clone(),
                tool_call_id: call.id.clone(),
                arguments: call.arguments.clone(),
            });
        }
        let mut answered = Vec::with_capacity(calls.len());
        let mut calls: FuturesUnordered<_> =
            calls.into_iter().map(|call| self.call_tool(call)).collect();
        while let Some(happened) = calls.next().await {
            answered.push(happened?);
        }
        Ok(answered)
    }

    async fn call_tool(&self, call: ToolCall) -> Result<Happened, Failure> {
        self.fire(HookPoint::PreToolCall, || HookData::PreToolCall {
            agent: self.handle.clone(),
            tool_name: shared(&call.name),
            arguments: shared(&call.arguments),
        })
        .await?;
        let answer = self.bounded(self.answer(&call).await).await;
        self.fire(HookPoint::PostToolCall, || HookData::PostToolCall {
            agent: self.handle.clone(),
            tool_name: shared(&call.name),
            result: Arc::new(answer.clone()),
        })
        .await?;
        self.cx.watch.emit(self.state.steps, || EventKind::ToolResult {
            tool_name: call.name,
            tool_call_id: call.id.clone(),
            content: answer.content.clone(),
            error: answer.error,
        });
        Ok(Happened::Answered { call_id: call.id, answer })
    }

    async fn answer(&self, call: &ToolCall) -> Answer {
        let Some(held) = self.find(&call.name) else {
            let names: Vec<&str> =
                self.agent.tools.specs().iter().map(|spec| spec.name.as_str()).collect();
            let known = if names.is_empty() { "none".into() } else { names.join(", ") };
            return Answer::error(format!("there is no tool `{}`; there are: {known}", call.name));
        };
        let arguments = match held.arguments.check_arguments(&call.arguments) {
            Ok(arguments) => arguments,
            Err(why) => return Err(ToolError::Tell(why)).into(),
        };
        let cx = ToolCx {
            call_id: call.id.clone(),
            idempotency_key: format!("{:032x}:{}", self.key, call.id),
            run: self.cx.clone(),
        };
        call_checked(&*held.tool, &cx, arguments).await.into()
    }

    fn find(&self, name: &str) -> Option<&Held> {
        let retrieve = || self.offload.get()?.retrieve.as_ref();
        self.agent.tools.get(name).or_else(|| retrieve().filter(|_| name == artifacts::NAME))
    }

    /// Puts an answer aside that is too long to be read whole.
    async fn bounded(&self, answer: Answer) -> Answer {
        if answer.content.len() <= artifacts::LONGEST_RESULT {
            return answer;
        }
        let error = answer.error;
        let (content, bytes) = artifacts::bounded(answer.content);
        let preview = artifacts::preview("", &content, bytes);
        let id = match self.offload().store.put(content.clone()).await {
            Ok(id) => id,
            Err(error) => {
                tracing::warn!(agent = self.handle.name(), %error, "a long result is lost");
                return Answer { content: preview, error: answer.error };
            }
        };
        self.cx.watch.emit(self.state.steps, || {
            EventKind::Context(ContextChange::Offloaded { artifact_id: id.clone(), bytes })
        });
        Answer { content: artifacts::preview(&id, &content, bytes), error }
    }

    fn offload(&self) -> &Offload {
        self.offload.get_or_init(|| {
            let store = self.agent.artifacts.clone();
            let store = store.unwrap_or_else(|| Arc::new(artifacts::InMemory::new()));
            Offload::new(store, self.agent.tools.specs())
        })
    }
}

impl Offload {
    fn new(store: Arc<dyn ArtifactStore>, specs: &ToolSet) -> Self {
        let tool = RetrieveArtifact::new(store.clone());
        // A tool of the agent's own by that name is left alone.
        let taken = specs.iter().any(|spec| spec.name == artifacts::NAME);
        let schema = Schema::new(&tool.spec().parameters).ok().filter(|_| !taken);
        let extra: Vec<ToolSpec> = schema.iter().map(|_| tool.spec().clone()).collect();
        let tools = specs.iter().cloned().chain(extra).collect();
        let tool: Arc<dyn Tool> = Arc::new(tool);
        let retrieve = schema.map(|schema| Held { tool, arguments: Arc::new(schema) });
        Self { store, retrieve, tools }
    }
}
