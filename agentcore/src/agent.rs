//! An agent: a model, instructions and tools under one name.

mod builder;
mod toolset;

use std::fmt;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};

pub use self::builder::{AgentBuilder, BuildError};
pub(crate) use self::toolset::{Held, Toolset};
use crate::artifacts::ArtifactStore;
use crate::context::Context;
use crate::drive::drive;
use crate::hooks::Hooks;
use crate::instructions::Instructions;
use crate::memory::Memory;
use crate::model::Model;
use crate::options::{Input, RunOptions};
use crate::output::OutputType;
use crate::result::{RunError, RunResult};
use crate::retry::RetryPolicy;
use crate::run::{RunCx, Runnable};
use crate::tool::ToolSpec;
use crate::window::Window;

/// Immutable once built, and cheap to clone.
///
/// ```
/// use agentcore::Agent;
///
/// let agent = Agent::builder("triage").model("sim:echo").instructions("Be brief.").build()?;
/// let loud = agent.to_builder().instructions("SHOUT.").build()?;
///
/// assert_eq!(agent.describe()["instructions"], "Be brief.");
/// assert_eq!(loud.model_name(), "sim:echo");
/// # Ok::<(), agentcore::BuildError>(())
/// ```
#[derive(Clone)]
pub struct Agent {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) name: Arc<str>,
    pub(crate) model: ModelChoice,
    pub(crate) provider: Option<Arc<dyn Model>>,
    pub(crate) fallback: Option<ModelChoice>,
    pub(crate) instructions: Instructions,
    pub(crate) tools: Toolset,
    pub(crate) handoffs: Vec<Handoff>,
    pub(crate) hooks: Hooks,
    pub(crate) output: Option<OutputType>,
    pub(crate) max_steps: u32,
    pub(crate) loop_threshold: u32,
    pub(crate) temperature: f32,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) window: Option<Window>,
    pub(crate) retries: RetryPolicy,
    pub(crate) memory: Option<Arc<dyn Memory>>,
    pub(crate) context: Option<Context>,
    pub(crate) artifacts: Option<Arc<dyn ArtifactStore>>,
}

/// Another agent this one may hand over to, in a swarm: the agent itself, or its name where two name each other.
///
/// ```
/// use agentcore::{Agent, Handoff};
///
/// let billing = Agent::builder("billing").build()?;
/// assert_eq!(Handoff::from(&billing).name(), Handoff::from("billing").name());
/// # Ok::<(), agentcore::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub enum Handoff {
    To(Agent),
    Named(String),
}

impl Handoff {
    pub fn name(&self) -> &str {
        match self {
            Self::To(agent) => agent.name(),
            Self::Named(name) => name,
        }
    }
}

impl From<Agent> for Handoff {
    fn from(agent: Agent) -> Self {
        Self::To(agent)
    }
}

impl From<&Agent> for Handoff {
    fn from(agent: &Agent) -> Self {
        Self::To(agent.clone())
    }
}

impl From<&str> for Handoff {
    fn from(name: &str) -> Self {
        Self::Named(name.to_owned())
    }
}

/// A model by name, or a provider of one's own, asked for a model of its name.
///
/// ```
/// use std::sync::Arc;
/// use agentcore::ModelChoice;
/// use agentcore::models::sim::Sim;
///
/// assert_eq!(ModelChoice::from("gpt-4o").name(), "openai:gpt-4o");
/// assert_eq!(ModelChoice::from(Arc::new(Sim::new())).name(), "sim:sim");
/// ```
#[derive(Clone)]
pub enum ModelChoice {
    Named(String),
    Given(Arc<dyn Model>),
}

impl ModelChoice {
    /// As in `openai:gpt-4o`.
    pub fn name(&self) -> String {
        match self {
            Self::Named(name) => {
                let (provider, model) = split_model_name(name);
                format!("{provider}:{model}")
            }
            Self::Given(model) => format!("{0}:{0}", model.name()),
        }
    }
}

impl From<&str> for ModelChoice {
    fn from(name: &str) -> Self {
        Self::Named(name.to_owned())
    }
}

impl From<String> for ModelChoice {
    fn from(name: String) -> Self {
        Self::Named(name)
    }
}

impl From<Arc<dyn Model>> for ModelChoice {
    fn from(model: Arc<dyn Model>) -> Self {
        Self::Given(model)
    }
}

impl<M: Model + 'static> From<Arc<M>> for ModelChoice {
    fn from(model: Arc<M>) -> Self {
        Self::Given(model)
    }
}

/// Splits `provider:model`; without a colon the provider is `openai`.
///
/// ```
/// use agentcore::split_model_name;
///
/// assert_eq!(split_model_name("ollama:qwen3:8b"), ("ollama", "qwen3:8b"));
/// assert_eq!(split_model_name("gpt-4o"), ("openai", "gpt-4o"));
/// ```
pub fn split_model_name(name: &str) -> (&str, &str) {
    name.split_once(':').unwrap_or(("openai", name))
}

impl Agent {
    pub const DEFAULT_MODEL: &str = "openai:gpt-4o";

    /// ```
    /// use agentcore::Agent;
    ///
    /// let agent = Agent::builder("triage").model("sim:echo").instructions("Be brief.").build()?;
    /// assert_eq!(agent.describe()["max_steps"], 10);
    /// # Ok::<(), agentcore::BuildError>(())
    /// ```
    pub fn builder(name: impl Into<String>) -> AgentBuilder {
        AgentBuilder::new(name.into())
    }

    /// The same agent again, to change something about the copy.
    pub fn to_builder(&self) -> AgentBuilder {
        AgentBuilder::from(&*self.inner)
    }

    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// `provider:model`.
    pub fn model_name(&self) -> String {
        self.inner.model.name()
    }

    pub fn tool_specs(&self) -> impl Iterator<Item = &ToolSpec> {
        self.inner.tools.specs().iter()
    }

    /// Whom it may hand over to.
    pub fn handoffs(&self) -> &[Handoff] {
        &self.inner.handoffs
    }

    /// The tools in the form `chat/completions` takes.
    pub fn tool_schemas(&self) -> Vec<Value> {
        self.tool_specs().map(ToolSpec::to_openai).collect()
    }

    /// What this agent is, for people and listings.
    pub fn describe(&self) -> Value {
        let tools = self.tool_specs();
        let tools: Vec<Value> = tools
            .map(|spec| json!({ "name": spec.name, "description": spec.description }))
            .collect();
        let handoffs: Vec<&str> = self.inner.handoffs.iter().map(Handoff::name).collect();
        json!({
            "name": self.name(),
            "model": self.model_name(),
            "instructions": self.inner.instructions.text(),
            "tools": tools,
            "handoffs": handoffs,
            "max_steps": self.inner.max_steps,
            "output_type": self.inner.output.as_ref().map(|output| &output.form.schema),
        })
    }

    /// The bare loop between model and tools: no conversation is remembered and going round in circles is not noticed,
    /// but for `max_steps`. Prefer [`run`](crate::run()).
    pub async fn run(
        &self,
        input: impl Into<Input>,
        options: RunOptions,
    ) -> Result<RunResult, RunError> {
        let bare = RunOptions { loop_threshold: Some(u32::MAX), conversation_id: None, ..options };
        crate::run::run_with(self, input, bare).await
    }
}

impl Runnable for Agent {
    fn name(&self) -> &str {
        Self::name(self)
    }

    fn context(&self) -> Option<Context> {
        self.inner.context.clone()
    }

    fn run_in(
        &self,
        input: Input,
        options: RunOptions,
        cx: RunCx,
    ) -> BoxFuture<'_, Result<RunResult, RunError>> {
        drive(self, input, options, cx).boxed()
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Agent({})", self.describe())
    }
}

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
