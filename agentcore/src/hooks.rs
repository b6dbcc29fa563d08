//! Hooks: what a program wants to see, or to stop, at seven points of an agent's run.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use shared_models::message::Message;

use crate::agent::Agent;
use crate::conversation::{Answer, Failure, FailureCode};
use crate::model::Reply;
use crate::result::BoxError;

/// Where in a run a hook is called.
///
/// ```
/// use agentcore::{Agent, HookPoint, run};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let agent = Agent::builder("guarded").model("sim:echo");
/// let agent = agent.hook(HookPoint::PreLlmCall, |_| async { Err("not today".into()) }).build()?;
/// assert!(run(&agent, "Hello").await.is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HookPoint {
    /// The run begins.
    Start,
    /// The run has succeeded.
    Finished,
    /// The run has failed, be it by another hook.
    Error,
    /// The model is about to be asked.
    PreLlmCall,
    /// The model has answered.
    PostLlmCall,
    /// A tool is about to be called. The calls of one turn run at the same time, and so do their hooks.
    PreToolCall,
    /// A tool has answered, or failed.
    PostToolCall,
}

/// What a hook is told. Cheap to clone.
///
/// ```
/// use agentcore::{Agent, HookPoint, run};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let agent = Agent::builder("watched").model("sim:echo");
/// let agent = agent.hook(HookPoint::PreLlmCall, |data| async move {
///     assert_eq!((data.agent().name(), data.point()), ("watched", HookPoint::PreLlmCall));
///     assert_eq!(data.messages().map(<[_]>::len), Some(1));
///     Ok(())
/// });
/// run(&agent.build()?, "Hello").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HookData {
    Start { agent: Agent },
    Finished { agent: Agent },
    Error { agent: Agent, failure: Failure },
    PreLlmCall { agent: Agent, messages: Arc<[Message]> },
    PostLlmCall { agent: Agent, response: Arc<Reply> },
    PreToolCall { agent: Agent, tool_name: Arc<str>, arguments: Arc<str> },
    PostToolCall { agent: Agent, tool_name: Arc<str>, result: Arc<Answer> },
}

impl HookData {
    pub fn agent(&self) -> &Agent {
        match self {
            Self::Start { agent }
            | Self::Finished { agent }
            | Self::Error { agent, .. }
            | Self::PreLlmCall { agent, .. }
            | Self::PostLlmCall { agent, .. }
            | Self::PreToolCall { agent, .. }
            | Self::PostToolCall { agent, .. } => agent,
        }
    }

    pub fn point(&self) -> HookPoint {
        match self {
            Self::Start { .. } => HookPoint::Start,
            Self::Finished { .. } => HookPoint::Finished,
            Self::Error { .. } => HookPoint::Error,
            Self::PreLlmCall { .. } => HookPoint::PreLlmCall,
            Self::PostLlmCall { .. } => HookPoint::PostLlmCall,
            Self::PreToolCall { .. } => HookPoint::PreToolCall,
            Self::PostToolCall { .. } => HookPoint::PostToolCall,
        }
    }

    /// What the model is asked with, before it is asked.
    pub fn messages(&self) -> Option<&[Message]> {
        if let Self::PreLlmCall { messages, .. } = self { Some(messages) } else { None }
    }

    /// The tool, before and after it is called.
    pub fn tool_name(&self) -> Option<&str> {
        match self {
            Self::PreToolCall { tool_name, .. } | Self::PostToolCall { tool_name, .. } => {
                Some(tool_name)
            }
            _ => None,
        }
    }
}

/// Why a hook stops the run; any error, or a text: `Err("not today".into())`.
///
/// ```
/// use agentcore::HookError;
///
/// let refused: HookError = "not today".into();
/// assert_eq!(refused.to_string(), "not today");
/// ```
pub type HookError = BoxError;

type Hook = dyn Fn(HookData) -> BoxFuture<'static, Result<(), HookError>> + Send + Sync;

/// The hooks of an agent, in order of registration.
#[derive(Clone, Default)]
pub(crate) struct Hooks(Vec<(HookPoint, Arc<Hook>)>);

impl Hooks {
    pub(crate) fn add<F, Fut>(&mut self, point: HookPoint, hook: F)
    where
        F: Fn(HookData) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HookError>> + Send + 'static,
    {
        self.0.push((point, Arc::new(move |data| hook(data).boxed())));
    }

    fn at(&self, point: HookPoint) -> impl Iterator<Item = &Arc<Hook>> {
        self.0.iter().filter(move |(at, _)| *at == point).map(|(_, hook)| hook)
    }

    pub(crate) fn has(&self, point: HookPoint) -> bool {
        self.at(point).next().is_some()
    }

    /// Calls the hooks of this point one after the other; the first that fails is the last.
    pub(crate) async fn fire(
        &self,
        point: HookPoint,
        data: impl FnOnce() -> HookData,
    ) -> Result<(), Failure> {
        if !self.has(point) {
            return Ok(());
        }
        let data = data();
        for hook in self.at(point) {
            let call = AssertUnwindSafe(async { hook(data.clone()).await }).catch_unwind();
            let message = match call.await {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => format!("a hook at {point:?} stopped the run: {error}"),
                Err(_panic) => format!("a hook at {point:?} crashed"),
            };
            return Err(Failure { code: FailureCode::HookFailed, message });
        }
        Ok(())
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(point, _)| point)).finish()
    }
}
