//! What an agent may do besides talking.

mod fn_tool;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::{Value, json};
use shared_models::effect::Effect;

pub use self::fn_tool::FnTool;
use crate::context::Context;
use crate::conversation::Answer;
use crate::run::RunCx;
use crate::validate::check_arguments;

/// Something an agent may do. The model sees the spec; what it must not reach comes in `cx`, or is held by the tool.
///
/// `#[tool]` and [`FnTool`] write this for functions; by hand it is for tools that hold something:
/// ```
/// use agentcore::{Effect, Tool, ToolCx, ToolError, ToolOutput, ToolSpec};
/// use futures::FutureExt;
/// use futures::future::BoxFuture;
/// use serde_json::{Value, json};
///
/// struct Shelf {
///     spec: ToolSpec,
///     books: Vec<String>,
/// }
///
/// impl Shelf {
///     fn new(books: Vec<String>) -> Self {
///         let spec = ToolSpec {
///             name: "find_book".into(),
///             description: "Finds a book by a word of its title.".into(),
///             parameters: json!({ "type": "object", "required": ["word"],
///                 "properties": { "word": { "type": "string" } } }),
///             effect: Effect::Read,
///             timeout: ToolSpec::DEFAULT_TIMEOUT,
///         };
///         Self { spec, books }
///     }
/// }
///
/// impl Tool for Shelf {
///     fn spec(&self) -> &ToolSpec {
///         &self.spec
///     }
///
///     fn call<'a>(
///         &'a self,
///         _cx: &'a ToolCx,
///         arguments: Value,
///     ) -> BoxFuture<'a, Result<ToolOutput, ToolError>> {
///         async move {
///             let word = arguments["word"].as_str().unwrap_or_default();
///             let found = self.books.iter().find(|book| book.contains(word));
///             found.map(|book| book.as_str().into()).ok_or_else(|| ToolError::tell("not here"))
///         }
///         .boxed()
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let shelf = Shelf::new(vec!["War and Peace".into()]);
/// let cx = ToolCx::new("call_1", "key_1");
/// let answer = agentcore::call_tool(&shelf, &cx, r#"{ "word": "Peace" }"#).await;
/// assert_eq!(answer, Ok("War and Peace".into()));
/// # }
/// ```
pub trait Tool: Send + Sync {
    /// Built once; the same on every call.
    fn spec(&self) -> &ToolSpec;

    /// Does it. `arguments` fit the schema. Dropping the future gives up the call.
    fn call<'a>(
        &'a self,
        cx: &'a ToolCx,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, ToolError>>;
}

/// What a tool is, for a model and for whoever calls it.
///
/// ```
/// use agentcore::{Effect, ToolSpec};
/// use serde_json::json;
///
/// let spec = ToolSpec {
///     name: "look".into(),
///     description: "Looks out of the window.".into(),
///     parameters: json!({ "type": "object" }),
///     effect: Effect::Read,
///     timeout: ToolSpec::DEFAULT_TIMEOUT,
/// };
/// assert_eq!(spec.to_openai()["function"]["name"], "look");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSpec {
    /// 1 to 64 of `[A-Za-z0-9_-]`, as providers want it.
    pub name: String,
    /// Tells the model when to use it.
    pub description: String,
    /// JSON Schema of the arguments, an object.
    pub parameters: Value,
    pub effect: Effect,
    /// A call that takes longer is given up.
    pub timeout: Duration,
}

impl ToolSpec {
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

    /// The form `chat/completions` wants, and what `tool_schemas` shows.
    pub fn to_openai(&self) -> Value {
        json!({ "type": "function", "function": {
            "name": self.name, "description": self.description, "parameters": self.parameters } })
    }
}

/// What a call may know that the model does not say. Clones are cheap.
///
/// ```
/// use agentcore::ToolCx;
///
/// let cx = ToolCx::new("call_1", "key_1");
/// cx.context().set("seen", true);
/// assert_eq!(cx.context().get_as("seen"), Some(true));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ToolCx {
    /// The model's id of the call, unique within the conversation.
    pub call_id: String,
    /// The same for every attempt at this call, and for no other call.
    pub idempotency_key: String,
    /// The run that the call belongs to, for tools that run agents.
    pub run: RunCx,
}

impl ToolCx {
    /// For calls outside a run, as in a tool's own tests.
    pub fn new(call_id: impl Into<String>, idempotency_key: impl Into<String>) -> Self {
        Self {
            call_id: call_id.into(),
            idempotency_key: idempotency_key.into(),
            run: RunCx::default(),
        }
    }

    /// What the agent and its tools know in common.
    pub fn context(&self) -> &Context {
        self.run.context()
    }
}

/// What the model reads. Anything longer than a text is the tool's business to shorten.
///
/// ```
/// use agentcore::ToolOutput;
/// use serde_json::json;
///
/// assert_eq!(ToolOutput::from("fine").content, "fine");
/// assert_eq!(ToolOutput::from(json!({ "n": 1 })).content, r#"{"n":1}"#);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolOutput {
    pub content: String,
}

impl From<&str> for ToolOutput {
    fn from(content: &str) -> Self {
        Self { content: content.to_owned() }
    }
}

impl From<String> for ToolOutput {
    fn from(content: String) -> Self {
        Self { content }
    }
}

impl From<Value> for ToolOutput {
    /// A string is itself, anything else its JSON text.
    fn from(value: Value) -> Self {
        match value {
            Value::String(content) => Self { content },
            value => Self { content: value.to_string() },
        }
    }
}

impl Serialize for ToolOutput {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.content)
    }
}

/// Why a tool has no answer.
///
/// ```
/// use agentcore::ToolError;
///
/// assert_eq!(ToolError::from("not here"), ToolError::tell("not here"));
/// assert_eq!(ToolError::Unknown("cut off".into()).to_string(), "cut off");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToolError {
    /// Becomes the tool's answer; the model may try something else.
    #[error("{0}")]
    Tell(String),
    /// It may have happened. An unsafe call then waits for someone who knows.
    #[error("{0}")]
    Unknown(String),
}

impl ToolError {
    /// What the model is told.
    pub fn tell(message: impl Into<String>) -> Self {
        Self::Tell(message.into())
    }
}

impl From<&str> for ToolError {
    fn from(message: &str) -> Self {
        Self::Tell(message.to_owned())
    }
}

impl From<String> for ToolError {
    fn from(message: String) -> Self {
        Self::Tell(message)
    }
}

/// Checks the arguments and calls the tool, within its timeout. A panic and a call that took too long end as
/// [`ToolError::Unknown`], as nobody can say how far it got.
///
/// ```
/// use agentcore::{ToolCx, ToolError, call_tool, tool};
///
/// /// Doubles a number.
/// #[tool]
/// fn double(n: u32) -> u32 {
///     n * 2
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let cx = ToolCx::new("call_1", "key_1");
/// assert_eq!(call_tool(&double, &cx, r#"{ "n": 4 }"#).await, Ok("8".into()));
/// assert!(matches!(call_tool(&double, &cx, r#"{ "n": "x" }"#).await, Err(ToolError::Tell(_))));
/// # }
/// ```
pub async fn call_tool(
    tool: &dyn Tool,
    cx: &ToolCx,
    arguments: &str,
) -> Result<ToolOutput, ToolError> {
    let arguments = check_arguments(&tool.spec().parameters, arguments).map_err(ToolError::Tell)?;
    call_checked(tool, cx, arguments).await
}

/// Like [`call_tool`], with arguments that were checked before.
pub(crate) async fn call_checked(
    tool: &dyn Tool,
    cx: &ToolCx,
    arguments: Value,
) -> Result<ToolOutput, ToolError> {
    let spec = tool.spec();
    // The tool's own futures are built inside, so that a panic before its first await is caught as well.
    let call = AssertUnwindSafe(async { tool.call(cx, arguments).await }).catch_unwind();
    match tokio::time::timeout(spec.timeout, call).await {
        Ok(Ok(result)) => result,
        Ok(Err(_panic)) => Err(ToolError::Unknown(format!("the tool `{}` crashed", spec.name))),
        Err(_elapsed) => {
            let message = format!("the tool `{}` took longer than {:?}", spec.name, spec.timeout);
            Err(ToolError::Unknown(message))
        }
    }
}

impl From<Result<ToolOutput, ToolError>> for Answer {
    fn from(result: Result<ToolOutput, ToolError>) -> Self {
        match result {
            Ok(output) => Self::ok(output.content),
            Err(error) => Self::error(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cx() -> ToolCx {
        ToolCx::new("c1", "k1")
    }

    fn anything() -> Value {
        json!({ "type": "object" })
    }

    #[tokio::test]
    async fn a_closure_is_a_tool() {
        let parameters = json!({ "type": "object", "required": ["n"],
            "properties": { "n": { "type": "integer" } } });
        let double = FnTool::new("double", "Doubles.", parameters, async |arguments: Value| {
            let n = arguments["n"].as_i64().unwrap_or_default();
            Ok((2 * n).to_string())
        });

        let answer = call_tool(&double, &cx(), r#"{"n":21}"#).await;
        assert_eq!(answer, Ok("42".into()));

        let refused = call_tool(&double, &cx(), r#"{"n":"x"}"#).await.unwrap_err();
        assert!(matches!(&refused, ToolError::Tell(why) if why.contains("/n")), "{refused:?}");
    }

    #[tokio::test]
    async fn nobody_knows_what_a_crashed_tool_has_done() {
        let early = FnTool::new("early", "", anything(), |_| {
            assert!(std::hint::black_box(false), "before the first await");
            std::future::ready(Ok("never"))
        });
        let late = FnTool::new("late", "", anything(), async |_| -> Result<String, ToolError> {
            tokio::task::yield_now().await;
            panic!("after the first await")
        });

        for tool in [early, late] {
            let error = call_tool(&tool, &cx(), "{}").await.unwrap_err();
            assert_eq!(
                error,
                ToolError::Unknown(format!("the tool `{}` crashed", tool.spec().name))
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_tool_that_takes_too_long_is_given_up() {
        let slow = FnTool::new("slow", "", anything(), async |_| {
            std::future::pending::<()>().await;
            Ok("never")
        })
        .timeout(Duration::from_secs(5));

        let error = call_tool(&slow, &cx(), "").await.unwrap_err();

        assert_eq!(error, ToolError::Unknown("the tool `slow` took longer than 5s".into()));
    }
}
