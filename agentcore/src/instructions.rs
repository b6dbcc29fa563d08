//! What an agent is told to be: a text, or something that is asked at the beginning of each run.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::context::Context;

/// What instructions can be made of.
///
/// ```
/// use agentcore::{Agent, run};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let agent = Agent::builder("assistant").model("sim:echo");
/// let agent = agent.instructions_with(|cx| format!("You are {}. Today is Monday.", cx.agent_name)).build()?;
/// run(&agent, "Hello").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InstructionsCx {
    pub agent_name: Arc<str>,
    /// The run's context.
    pub context: Context,
    /// The text of what the user says.
    pub input: Arc<str>,
}

type Written = dyn Fn(InstructionsCx) -> BoxFuture<'static, String> + Send + Sync;

#[derive(Clone)]
pub(crate) enum Instructions {
    Text(Arc<str>),
    Written(Arc<Written>),
}

impl Instructions {
    pub(crate) fn by_function(
        function: impl Fn(&InstructionsCx) -> String + Send + Sync + 'static,
    ) -> Self {
        Self::Written(Arc::new(move |cx| std::future::ready(function(&cx)).boxed()))
    }

    pub(crate) fn by_async_function<F, Fut>(function: F) -> Self
    where
        F: Fn(InstructionsCx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = String> + Send + 'static,
    {
        Self::Written(Arc::new(move |cx| function(cx).boxed()))
    }

    pub(crate) async fn resolve(&self, cx: impl FnOnce() -> InstructionsCx) -> String {
        match self {
            Self::Text(text) => text.to_string(),
            Self::Written(function) => function(cx()).await,
        }
    }

    /// For descriptions: the text, when it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Written(_) => None,
        }
    }
}
