//! What a run comes to.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use shared_models::message::Message;
use shared_models::run::FinishReason;
use shared_models::usage::Usage;

use crate::conversation::Failure;

/// Any error, from whoever implements one of our traits.
///
/// ```
/// use agentcore::BoxError;
///
/// let error: BoxError = "no more room".into();
/// assert_eq!(error.to_string(), "no more room");
/// ```
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a run came to. Also carried by [`RunError::Failed`], as far as it got.
///
/// ```
/// use agentcore::{Agent, FinishReason, run_blocking};
///
/// let agent = Agent::builder("parrot").model("sim:echo").build()?;
/// let result = run_blocking(&agent, r#"{ "n": 7 }"#)?;
///
/// assert_eq!((result.steps, result.finish_reason), (1, FinishReason::Stop));
/// assert_eq!(result.total_tokens(), result.input_tokens() + result.output_tokens());
/// assert_eq!(result.parse::<serde_json::Value>()?["n"], 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunResult {
    pub output: String,
    /// The whole conversation, input and tool results included; hand it back with a new message to go on.
    pub messages: Vec<Message>,
    pub usage: Usage,
    /// Replies the model gave.
    pub steps: u32,
    pub finish_reason: FinishReason,
    /// The output as JSON, when the agent has an output type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parsed: Option<Value>,
}

impl RunResult {
    /// The output as the type the agent was given, or any other that fits. Without an output type the text is read as
    /// JSON.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        match &self.parsed {
            Some(parsed) => T::deserialize(parsed),
            None => serde_json::from_str(&self.output),
        }
    }

    /// Everything that went in, cached or not.
    pub fn input_tokens(&self) -> u64 {
        self.usage.all_input()
    }

    /// Everything that came out, reasoning included.
    pub fn output_tokens(&self) -> u64 {
        self.usage.all_output()
    }

    pub fn total_tokens(&self) -> u64 {
        self.usage.total()
    }
}

/// Why a run has no result.
///
/// ```
/// use agentcore::models::sim::{Sim, Turn};
/// use agentcore::{Agent, FailureCode, ModelErrorKind, run_blocking};
///
/// let sim = std::sync::Arc::new(Sim::script([Turn::fail(ModelErrorKind::Auth)]));
/// let agent = Agent::builder("locked").model(sim).build()?;
/// let error = run_blocking(&agent, "Hi").err().ok_or("it answered")?;
///
/// assert_eq!(error.failure().map(|failure| failure.code), Some(FailureCode::ModelAuth));
/// assert_eq!(error.result().map(|result| result.messages.len()), Some(1), "as far as it got");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The model failed for good, went round in circles, or a hook refused.
    #[error("the agent `{agent}` failed: {failure}")]
    Failed { agent: String, failure: Failure, result: Box<RunResult> },
    #[error(
        "nobody answers for the model `{model}` of the agent `{agent}`: {why}; or hand a provider over with \
         `.provider(..)`"
    )]
    NoProvider { agent: String, model: String, why: String },
    /// The runs cannot begin: what is wrong with how they were put together.
    #[error("{0}")]
    Setup(String),
    #[error("no thread to run the agent on")]
    Thread(#[from] std::io::Error),
}

impl RunError {
    /// What stopped the run, when it had begun.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed { failure, .. } => Some(failure),
            Self::NoProvider { .. } | Self::Setup(_) | Self::Thread(_) => None,
        }
    }

    /// How far the run came, when it had begun.
    pub fn result(&self) -> Option<&RunResult> {
        match self {
            Self::Failed { result, .. } => Some(result),
            Self::NoProvider { .. } | Self::Setup(_) | Self::Thread(_) => None,
        }
    }
}
