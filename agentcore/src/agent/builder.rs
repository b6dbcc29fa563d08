use std::collections::HashSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde_json::Value;

use super::{Agent, Handoff, Inner, ModelChoice, Toolset};
use crate::artifacts::ArtifactStore;
use crate::context::Context;
use crate::conversation::Conversation;
use crate::hooks::{HookData, HookError, HookPoint, Hooks};
use crate::instructions::{Instructions, InstructionsCx};
use crate::memory::{self, Memory};
use crate::model::Model;
use crate::output::OutputType;
use crate::retry::RetryPolicy;
use crate::schema::schema_of;
use crate::tool::Tool;
use crate::window::Window;

/// Puts an agent together. What is said twice holds as said last; tools, handoffs and hooks add up.
///
/// ```
/// use agentcore::Agent;
///
/// let careful = Agent::builder("careful").model("sim:echo").max_steps(3).temperature(0.2);
/// assert_eq!(careful.build()?.describe()["max_steps"], 3);
/// # Ok::<(), agentcore::BuildError>(())
/// ```
#[must_use]
pub struct AgentBuilder {
    name: String,
    model: ModelChoice,
    provider: Option<Arc<dyn Model>>,
    fallback: Option<ModelChoice>,
    instructions: Instructions,
    tools: Vec<Arc<dyn Tool>>,
    handoffs: Vec<Handoff>,
    hooks: Hooks,
    output: Option<Value>,
    max_steps: u32,
    loop_threshold: u32,
    temperature: f32,
    max_tokens: Option<u32>,
    window: Option<Window>,
    retries: RetryPolicy,
    memory: Option<Arc<dyn Memory>>,
    context: Option<Context>,
    artifacts: Option<Arc<dyn ArtifactStore>>,
}

/// Why an agent cannot be built.
///
/// ```
/// use agentcore::{Agent, BuildError};
///
/// assert_eq!(Agent::builder("").build().err(), Some(BuildError::NoName));
/// assert_eq!(Agent::builder("a").max_steps(0).build().err(), Some(BuildError::NoSteps));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    #[error("an agent needs a name")]
    NoName,
    #[error("two tools are called `{0}`")]
    DuplicateTool(String),
    #[error("`{0}` is no tool name: use 1 to 64 of A-Z, a-z, 0-9, `_` and `-`")]
    ToolName(String),
    #[error("the parameters of the tool `{tool}` are no JSON Schema: {message}")]
    ToolSchema { tool: String, message: String },
    #[error("two handoffs go to `{0}`")]
    DuplicateHandoff(String),
    #[error("the output type is no JSON Schema: {0}")]
    OutputSchema(String),
    #[error("`max_steps` must be at least 1")]
    NoSteps,
}

impl AgentBuilder {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            model: Agent::DEFAULT_MODEL.into(),
            provider: None,
            fallback: None,
            instructions: Instructions::Text("".into()),
            tools: Vec::new(),
            handoffs: Vec::new(),
            hooks: Hooks::default(),
            output: None,
            max_steps: Conversation::DEFAULT_MAX_STEPS,
            loop_threshold: Conversation::DEFAULT_LOOP_THRESHOLD,
            temperature: 1.0,
            max_tokens: None,
            window: None,
            retries: RetryPolicy::default(),
            memory: None,
            context: None,
            artifacts: None,
        }
    }

    /// `provider:model`, `openai` when there is no colon; or a provider of one's own, asked for a model of its name.
    pub fn model(mut self, model: impl Into<ModelChoice>) -> Self {
        self.model = model.into();
        self
    }

    /// Who answers for the model, whatever the part before the colon says. Without it those are asked that the
    /// environment has keys for, or that were [installed](crate::providers::install).
    pub fn provider(mut self, provider: Arc<dyn Model>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Asked when the model has failed in spite of retries.
    pub fn fallback_model(mut self, model: impl Into<ModelChoice>) -> Self {
        self.fallback = Some(model.into());
        self
    }

    pub fn instructions(mut self, instructions: impl Into<String>) -> Self {
        self.instructions = Instructions::Text(instructions.into().into());
        self
    }

    /// Written anew for each run.
    pub fn instructions_with(
        mut self,
        function: impl Fn(&InstructionsCx) -> String + Send + Sync + 'static,
    ) -> Self {
        self.instructions = Instructions::by_function(function);
        self
    }

    /// Written anew for each run, by an async function.
    pub fn instructions_async<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(InstructionsCx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = String> + Send + 'static,
    {
        self.instructions = Instructions::by_async_function(function);
        self
    }

    pub fn tool(self, tool: impl Tool + 'static) -> Self {
        self.shared_tool(Arc::new(tool))
    }

    /// A tool that other agents hold as well.
    pub fn shared_tool(mut self, tool: Arc<dyn Tool>) -> Self {
        self.tools.push(tool);
        self
    }

    pub fn tools(mut self, tools: impl IntoIterator<Item = Arc<dyn Tool>>) -> Self {
        self.tools.extend(tools);
        self
    }

    /// Another agent this one may hand over to, in a swarm.
    pub fn handoff(mut self, to: impl Into<Handoff>) -> Self {
        self.handoffs.push(to.into());
        self
    }

    pub fn handoffs<H: Into<Handoff>>(mut self, to: impl IntoIterator<Item = H>) -> Self {
        self.handoffs.extend(to.into_iter().map(Into::into));
        self
    }

    /// Calls `hook` at that point of each run. One that fails ends the run.
    ///
    /// ```
    /// use agentcore::{Agent, HookData, HookPoint};
    ///
    /// let agent = Agent::builder("careful")
    ///     .model("sim:echo")
    ///     .hook(HookPoint::PreToolCall, async |data: HookData| match data.tool_name() {
    ///         Some("delete") => Err("nothing is deleted here".into()),
    ///         _ => Ok(()),
    ///     })
    ///     .build()?;
    /// # Ok::<(), agentcore::BuildError>(())
    /// ```
    pub fn hook<F, Fut>(mut self, point: HookPoint, hook: F) -> Self
    where
        F: Fn(HookData) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HookError>> + Send + 'static,
    {
        self.hooks.add(point, hook);
        self
    }

    /// The output is JSON that fits this type; see [`RunResult::parse`](crate::RunResult::parse).
    pub fn output_type<T: JsonSchema>(self) -> Self {
        self.output_schema(schema_of::<T>())
    }

    /// The output is JSON that fits this schema.
    pub fn output_schema(mut self, schema: Value) -> Self {
        self.output = Some(schema);
        self
    }

    /// How many replies the model may give in one run; 10 unless told otherwise.
    pub fn max_steps(mut self, max_steps: u32) -> Self {
        self.max_steps = max_steps;
        self
    }

    /// The how-manieth identical turn in a row fails the run; the third unless told otherwise.
    pub fn loop_threshold(mut self, loop_threshold: u32) -> Self {
        self.loop_threshold = loop_threshold;
        self
    }

    pub fn temperature(mut self, temperature: f32) -> Self {
        self.temperature = temperature;
        self
    }

    /// The most tokens of one reply.
    pub fn max_tokens(mut self, max_tokens: u32) -> Self {
        self.max_tokens = Some(max_tokens);
        self
    }

    /// How much the model can read, in tokens, where it is not known by its name. Before a conversation grows beyond it,
    /// its oldest turns are summarised.
    pub fn context_window(mut self, tokens: u64) -> Self {
        self.window = Some(Window::new(tokens));
        self
    }

    pub fn retries(mut self, retries: RetryPolicy) -> Self {
        self.retries = retries;
        self
    }

    /// Where conversations and facts are kept. The agent gets two tools, `remember` and `recall`.
    pub fn memory(mut self, memory: Arc<dyn Memory>) -> Self {
        self.memory = Some(memory);
        self
    }

    /// What the agent and its tools know in common, run after run.
    pub fn context(mut self, context: Context) -> Self {
        self.context = Some(context);
        self
    }

    /// Where long tool results are put; in memory, for the length of the run, unless told otherwise.
    pub fn artifacts(mut self, artifacts: Arc<dyn ArtifactStore>) -> Self {
        self.artifacts = Some(artifacts);
        self
    }

    pub fn build(self) -> Result<Agent, BuildError> {
        if self.name.trim().is_empty() {
            return Err(BuildError::NoName);
        }
        if self.max_steps == 0 {
            return Err(BuildError::NoSteps);
        }
        let mut names = HashSet::new();
        if let Some(twice) = self.handoffs.iter().find(|handoff| !names.insert(handoff.name())) {
            return Err(BuildError::DuplicateHandoff(twice.name().to_owned()));
        }
        let mut tools = self.tools;
        if let Some(memory) = &self.memory {
            tools.extend(memory::tools(memory));
        }
        let output = self.output.map(OutputType::new).transpose();
        let inner = Inner {
            name: self.name.into(),
            window: self.window.or_else(|| Window::of_model(&self.model.name())),
            model: self.model,
            provider: self.provider,
            fallback: self.fallback,
            instructions: self.instructions,
            tools: Toolset::new(&tools)?,
            handoffs: self.handoffs,
            hooks: self.hooks,
            output: output.map_err(BuildError::OutputSchema)?,
            max_steps: self.max_steps,
            loop_threshold: self.loop_threshold,
            temperature: self.temperature,
            max_tokens: self.max_tokens,
            retries: self.retries,
            memory: self.memory,
            context: self.context,
            artifacts: self.artifacts,
        };
        Ok(Agent { inner: Arc::new(inner) })
    }
}

impl From<&Inner> for AgentBuilder {
    fn from(agent: &Inner) -> Self {
        let mut tools = agent.tools.tools();
        if agent.memory.is_some() {
            tools.retain(|tool| !memory::TOOLS.contains(&tool.spec().name.as_str()));
        }
        Self {
            name: agent.name.to_string(),
            model: agent.model.clone(),
            provider: agent.provider.clone(),
            fallback: agent.fallback.clone(),
            instructions: agent.instructions.clone(),
            tools,
            handoffs: agent.handoffs.clone(),
            hooks: agent.hooks.clone(),
            output: agent.output.as_ref().map(|output| output.form.schema.clone()),
            max_steps: agent.max_steps,
            loop_threshold: agent.loop_threshold,
            temperature: agent.temperature,
            max_tokens: agent.max_tokens,
            // What follows from the model's name is found anew, should the copy get another one.
            window: agent
                .window
                .filter(|window| Window::of_model(&agent.model.name()) != Some(*window)),
            retries: agent.retries,
            memory: agent.memory.clone(),
            context: agent.context.clone(),
            artifacts: agent.artifacts.clone(),
        }
    }
}
