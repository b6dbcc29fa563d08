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

// What `#[tool]` writes refers to the crate by its name, also in here.
extern crate self as agentcore;

#[doc(hidden)]
pub mod __private;
pub mod agent;
pub mod artifacts;
pub mod bus;
pub mod context;
pub mod conversation;
mod drive;
pub mod event;
pub mod hooks;
pub mod instructions;
pub mod memory;
pub mod model;
pub mod models;
pub mod options;
mod output;
pub mod providers;
mod repetition;
pub mod result;
pub mod retry;
pub mod run;
mod schema;
pub mod step;
pub mod swarm;
pub mod tool;
pub mod validate;
pub mod window;

pub use agent::{Agent, AgentBuilder, BuildError, Handoff, ModelChoice, split_model_name};
/// Makes a tool of a function.
///
/// The tool has the function's name, and can be handed to an agent by it; the function itself is `name::invoke`. (As with
/// any unit struct, no local variable in reach can have that name.) Its description is the first paragraph of the
/// doc comment; what is said of each argument under `# Arguments` (or `Args:`), or in a doc comment of its own, describes
/// the argument. The JSON Schema follows from the types (each implements `schemars::JsonSchema` and
/// `serde::Deserialize`): an argument is required unless it is an `Option`, which may be `null` or missing, or has a
/// `#[tool(default)]` or `#[tool(default = value)]`. A parameter of the type [`ToolCx`] or `&ToolCx` is not the model's
/// business. `&str` and `&[T]` may be borrowed.
///
/// The result is a text, or anything that can be serialised, or a `Result` of these; an error is told to the model. A
/// function that is not `async` runs where it keeps nobody waiting.
///
/// ```
/// use agentcore::{Agent, Effect, Tool, ToolError, run, tool};
///
/// /// Divides one number by another.
/// ///
/// /// # Arguments
/// /// * `a` - What is divided.
/// #[tool(effect = read)]
/// fn divide(a: f64, #[tool(default = 2.0)] b: f64) -> Result<f64, ToolError> {
///     if b == 0.0 {
///         return Err("cannot divide by zero".into());
///     }
///     Ok(a / b)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let spec = divide.spec();
/// assert_eq!((&*spec.name, spec.effect), ("divide", Effect::Read));
/// assert_eq!(spec.parameters["required"], serde_json::json!(["a"]));
/// assert_eq!(divide::invoke(6.0, 3.0)?, 2.0);
///
/// let agent = Agent::builder("calculator").model("sim:demo").tool(divide).build()?;
/// assert!(run(&agent, "What is half of 42?").await?.output.contains("`divide` answered"));
/// # Ok(())
/// # }
/// ```
///
/// In the brackets: `name = "…"` and `description = "…"` in place of the function's own; `effect = read`, `idempotent`,
/// `keyed` or `unsafe` (see [`Effect`]; `unsafe` unless told otherwise); `timeout = 30` in seconds, or `"500ms"`.
///
/// A tool needs arguments it can own, and no `self`:
/// ```compile_fail
/// #[agentcore::tool]
/// fn search(config: &std::path::PathBuf) {}
/// ```
/// ```compile_fail
/// #[agentcore::tool(color = "red")]
/// fn search(query: String) {}
/// ```
pub use agentcore_macros::tool;
pub use bus::{EventBus, HandlerId};
pub use context::Context;
pub use conversation::{Answer, Conversation, Failure, FailureCode, Outcome, Status};
pub use event::{ContextChange, EventKind, StatusChange, StreamEvent, Watch};
pub use hooks::{HookData, HookError, HookPoint};
pub use instructions::InstructionsCx;
pub use model::{
    Effort, Model, ModelError, ModelErrorKind, ModelEvent, ModelRequest, OutputForm, Reply,
    ReplyFinish, ToolChoice, ToolSet, complete,
};
pub use options::{Input, RunOptions};
pub use output::output_json;
pub use result::{BoxError, RunError, RunResult};
pub use retry::{Progress, RetryPolicy, complete_with_retries};
pub use run::{
    RunCx, Runnable, Spent, run, run_blocking, run_blocking_with, run_stream, run_stream_with,
    run_with,
};
pub use schema::schema_of;
pub use shared_models::effect::Effect;
pub use shared_models::flow::{Flow, FlowError, FlowErrorKind, SwarmMode as Mode};
pub use shared_models::message::{Block, Content, Message, Replay, ToolCall};
pub use shared_models::run::FinishReason;
pub use shared_models::usage::Usage;
pub use step::{Command, Happened, step};
pub use swarm::{Member, ParallelGroup, Path, PlanError, SerialGroup, Swarm, SwarmBuilder};
pub use tool::{FnTool, Tool, ToolCx, ToolError, ToolOutput, ToolSpec, call_tool};
pub use validate::check_arguments;
pub use window::Window;
