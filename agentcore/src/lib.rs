//! Agents as a library: a model, instructions and tools, and the loop that brings them together.
//!
//! ```
//! use agentcore::{Agent, run};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // `sim` is a simulated model: it needs no key and no network, and always says the same.
//! let agent = Agent::builder("parrot").model("sim:echo").instructions("Repeat.").build()?;
//!
//! let result = run(&agent, "Hello").await?;
//!
//! assert_eq!(result.output, "Hello");
//! assert_eq!(result.steps, 1);
//! # Ok(())
//! # }
//! ```
//!
//! The loop itself is [`step::step`], a pure function over a serialisable [`Conversation`]: [`run()`] drives it in
//! memory, and a durable runner drives the same function from a journal. There is no database here, no tenant and no
//! configuration.

pub mod agent;
pub mod conversation;
pub mod model;
pub mod models;
mod repetition;
pub mod retry;
pub mod run;
pub mod step;
pub mod tool;
pub mod validate;

pub use agent::{Agent, AgentBuilder, BuildError, split_model_name};
pub use conversation::{Answer, Conversation, Failure, FailureCode, Outcome, Status};
pub use model::{Model, ModelError, ModelEvent, ModelRequest, Reply, ReplyFinish, complete};
pub use retry::{Progress, RetryPolicy, complete_with_retries};
pub use run::{Input, RunError, RunEvent, RunResult, run, run_blocking, run_stream};
pub use shared_models::effect::Effect;
pub use shared_models::message::{Block, Content, Message, ToolCall};
pub use shared_models::run::FinishReason;
pub use shared_models::usage::Usage;
pub use step::{Command, Happened, step};
pub use tool::{FnTool, Tool, ToolCx, ToolError, ToolOutput, ToolSpec, call_tool};
pub use validate::check_arguments;
