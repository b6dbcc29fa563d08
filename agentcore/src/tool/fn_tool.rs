//! A closure as a tool.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use shared_models::effect::Effect;

use super::{Tool, ToolCx, ToolError, ToolOutput, ToolSpec};
use crate::schema::schema_of;

/// An async closure as a tool.
///
/// It counts as `unsafe` with a timeout of a minute until told otherwise.
///
/// ```
/// use agentcore::{Effect, FnTool};
/// use serde_json::{Value, json};
///
/// let parameters = json!({ "type": "object", "required": ["text"],
///     "properties": { "text": { "type": "string" } } });
/// let shout = FnTool::new("shout", "Shouts.", parameters, async |arguments: Value| {
///     Ok(arguments["text"].as_str().unwrap_or_default().to_uppercase())
/// })
/// .effect(Effect::Read);
/// ```
pub struct FnTool {
    spec: ToolSpec,
    function: Box<Function>,
}

type Function = dyn Fn(Value) -> BoxFuture<'static, Result<ToolOutput, ToolError>> + Send + Sync;

impl FnTool {
    pub fn new<F, Fut, Out>(
        name: impl Into<String>,
        description: impl Into<String>,
        parameters: Value,
        function: F,
    ) -> Self
    where
        F: Fn(Value) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Out, ToolError>> + Send + 'static,
        Out: Into<ToolOutput>,
    {
        let spec = ToolSpec {
            name: name.into(),
            description: description.into(),
            parameters,
            effect: Effect::Unsafe,
            timeout: ToolSpec::DEFAULT_TIMEOUT,
        };
        let function = move |arguments| {
            let result = function(arguments);
            async move { result.await.map(Into::into) }.boxed()
        };
        Self { spec, function: Box::new(function) }
    }

    /// With arguments of a type of one's own, whose schema the model sees.
    ///
    /// ```
    /// use agentcore::{FnTool, Tool};
    ///
    /// #[derive(serde::Deserialize, schemars::JsonSchema)]
    /// struct Sum {
    ///     numbers: Vec<f64>,
    /// }
    ///
    /// let sum = FnTool::typed("sum", "Adds numbers.", async |sum: Sum| {
    ///     Ok(sum.numbers.iter().sum::<f64>().to_string())
    /// });
    /// assert_eq!(sum.spec().parameters["required"], serde_json::json!(["numbers"]));
    /// ```
    pub fn typed<Arguments, F, Fut, Out>(
        name: impl Into<String>,
        description: impl Into<String>,
        function: F,
    ) -> Self
    where
        Arguments: JsonSchema + DeserializeOwned + Send,
        F: Fn(Arguments) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Out, ToolError>> + Send + 'static,
        Out: Into<ToolOutput>,
    {
        let function = Arc::new(function);
        Self::new(name, description, schema_of::<Arguments>(), move |arguments| {
            let function = function.clone();
            async move { function(crate::__private::arguments(arguments)?).await }
        })
    }

    #[must_use]
    pub fn effect(mut self, effect: Effect) -> Self {
        self.spec.effect = effect;
        self
    }

    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.spec.timeout = timeout;
        self
    }
}

impl Tool for FnTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(
        &'a self,
        _cx: &'a ToolCx,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, ToolError>> {
        (self.function)(arguments)
    }
}
