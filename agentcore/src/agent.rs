//! An agent: a model, instructions and tools under one name.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::conversation::Conversation;
use crate::model::Model;
use crate::models::sim::Sim;
use crate::retry::RetryPolicy;
use crate::tool::{Tool, ToolSpec};
use crate::validate::check_schema;

/// Immutable once built, and cheap to clone.
#[derive(Clone)]
pub struct Agent {
    pub(crate) name: Arc<str>,
    pub(crate) provider: Arc<dyn Model>,
    pub(crate) model: String,
    pub(crate) tools: Vec<Arc<dyn Tool>>,
    pub(crate) temperature: f32,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) retries: RetryPolicy,
    /// How a conversation with this agent begins.
    pub(crate) opening: Conversation,
}

impl Agent {
    pub fn builder(name: impl Into<String>) -> AgentBuilder {
        AgentBuilder {
            name: name.into(),
            model: ModelChoice::Named("openai:gpt-4o".into()),
            provider: None,
            instructions: String::new(),
            tools: Vec::new(),
            max_steps: Conversation::DEFAULT_MAX_STEPS,
            loop_threshold: Conversation::DEFAULT_LOOP_THRESHOLD,
            temperature: 1.0,
            max_tokens: None,
            retries: RetryPolicy::default(),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn tool_specs(&self) -> impl Iterator<Item = &ToolSpec> {
        self.tools.iter().map(|tool| tool.spec())
    }

    /// The tools in the form `chat/completions` takes.
    pub fn get_tool_schemas(&self) -> Vec<Value> {
        self.tool_specs().map(ToolSpec::to_openai).collect()
    }

    /// What this agent is, for people and listings.
    pub fn describe(&self) -> Value {
        let tools: Vec<Value> = self
            .tool_specs()
            .map(|spec| json!({ "name": spec.name, "description": spec.description }))
            .collect();
        json!({
            "name": &*self.name,
            "model": format!("{}:{}", self.provider.name(), self.model),
            "instructions": self.opening.instructions,
            "max_steps": self.opening.max_steps,
            "tools": tools,
        })
    }

    pub(crate) fn tool(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.tools.iter().find(|tool| tool.spec().name == name)
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Agent({})", self.describe())
    }
}

pub struct AgentBuilder {
    name: String,
    model: ModelChoice,
    provider: Option<Arc<dyn Model>>,
    instructions: String,
    tools: Vec<Arc<dyn Tool>>,
    max_steps: u32,
    loop_threshold: u32,
    temperature: f32,
    max_tokens: Option<u32>,
    retries: RetryPolicy,
}

/// A model by name, or a provider of one's own.
pub enum ModelChoice {
    Named(String),
    Given(Arc<dyn Model>),
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

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    #[error("an agent needs a name")]
    NoName,
    #[error("there is no provider for the model `{0}`: hand one over with `.provider(..)`")]
    NoProvider(String),
    #[error("two tools are called `{0}`")]
    DuplicateTool(String),
    #[error("`{0}` is no tool name: use 1 to 64 of A-Z, a-z, 0-9, `_` and `-`")]
    ToolName(String),
    #[error("the parameters of the tool `{tool}` are no JSON Schema: {message}")]
    ToolSchema { tool: String, message: String },
    #[error("`max_steps` must be at least 1")]
    NoSteps,
}

impl AgentBuilder {
    /// `provider:model`, `openai` when there is no colon; or a provider of one's own, asked for a model of its name.
    #[must_use]
    pub fn model(mut self, model: impl Into<ModelChoice>) -> Self {
        self.model = model.into();
        self
    }

    /// Who answers for the model, whatever the part before the colon says. Only `sim` needs none.
    #[must_use]
    pub fn provider(mut self, provider: Arc<dyn Model>) -> Self {
        self.provider = Some(provider);
        self
    }

    #[must_use]
    pub fn instructions(mut self, instructions: impl Into<String>) -> Self {
        self.instructions = instructions.into();
        self
    }

    #[must_use]
    pub fn tool(self, tool: impl Tool + 'static) -> Self {
        self.shared_tool(Arc::new(tool))
    }

    /// A tool that other agents hold as well.
    #[must_use]
    pub fn shared_tool(mut self, tool: Arc<dyn Tool>) -> Self {
        self.tools.push(tool);
        self
    }

    /// How many replies the model may give in one run; 10 unless told otherwise.
    #[must_use]
    pub fn max_steps(mut self, max_steps: u32) -> Self {
        self.max_steps = max_steps;
        self
    }

    /// The how-manieth identical turn in a row fails the run; the third unless told otherwise.
    #[must_use]
    pub fn loop_threshold(mut self, loop_threshold: u32) -> Self {
        self.loop_threshold = loop_threshold;
        self
    }

    #[must_use]
    pub fn temperature(mut self, temperature: f32) -> Self {
        self.temperature = temperature;
        self
    }

    /// The most tokens of one reply.
    #[must_use]
    pub fn max_tokens(mut self, max_tokens: u32) -> Self {
        self.max_tokens = Some(max_tokens);
        self
    }

    #[must_use]
    pub fn retries(mut self, retries: RetryPolicy) -> Self {
        self.retries = retries;
        self
    }

    pub fn build(self) -> Result<Agent, BuildError> {
        if self.name.trim().is_empty() {
            return Err(BuildError::NoName);
        }
        if self.max_steps == 0 {
            return Err(BuildError::NoSteps);
        }
        check_tools(&self.tools)?;
        let (provider, model) = resolve(self.model, self.provider)?;
        Ok(Agent {
            name: self.name.into(),
            provider,
            model,
            tools: self.tools,
            temperature: self.temperature,
            max_tokens: self.max_tokens,
            retries: self.retries,
            opening: Conversation::new(self.instructions)
                .with_max_steps(self.max_steps)
                .with_loop_threshold(self.loop_threshold),
        })
    }
}

/// Splits `provider:model`; without a colon the provider is `openai`.
pub fn split_model_name(name: &str) -> (&str, &str) {
    name.split_once(':').unwrap_or(("openai", name))
}

fn resolve(
    choice: ModelChoice,
    provider: Option<Arc<dyn Model>>,
) -> Result<(Arc<dyn Model>, String), BuildError> {
    let name = match choice {
        ModelChoice::Named(name) => name,
        ModelChoice::Given(model) => {
            let name = model.name().to_owned();
            return Ok((provider.unwrap_or(model), name));
        }
    };
    let (provider_name, model) = split_model_name(&name);
    match provider {
        Some(provider) => Ok((provider, model.to_owned())),
        None if provider_name == Sim::NAME => Ok((Arc::new(Sim::new()), model.to_owned())),
        None => Err(BuildError::NoProvider(name)),
    }
}

fn check_tools(tools: &[Arc<dyn Tool>]) -> Result<(), BuildError> {
    let mut names = HashSet::new();
    for spec in tools.iter().map(|tool| tool.spec()) {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if !(1..=64).contains(&spec.name.len()) || !spec.name.chars().all(allowed) {
            return Err(BuildError::ToolName(spec.name.clone()));
        }
        if !names.insert(&spec.name) {
            return Err(BuildError::DuplicateTool(spec.name.clone()));
        }
        check_schema(&spec.parameters)
            .map_err(|message| BuildError::ToolSchema { tool: spec.name.clone(), message })?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
