//! What the code written by `#[tool]` needs. Not for use by hand; it changes without notice.

use std::any::Any;
use std::fmt::Display;
use std::time::Duration;

pub use futures::future::BoxFuture;
pub use schemars;
use schemars::JsonSchema;
pub use serde;
use serde::Serialize;
use serde::de::DeserializeOwned;
pub use serde_json::Value;
use shared_models::effect::Effect;

use crate::schema::schema_of;
use crate::tool::{ToolError, ToolOutput, ToolSpec};

pub fn spec<Arguments: JsonSchema>(
    name: &str,
    description: &str,
    effect: Effect,
    timeout: Duration,
) -> ToolSpec {
    let mut parameters = schema_of::<Arguments>();
    if let Some(object) = parameters.as_object_mut() {
        // Some providers refuse a tool that does not say that it has no parameters.
        object.entry("properties").or_insert_with(|| Value::Object(serde_json::Map::new()));
    }
    ToolSpec {
        name: name.to_owned(),
        description: description.to_owned(),
        parameters,
        effect,
        timeout,
    }
}

pub fn arguments<Arguments: DeserializeOwned>(value: Value) -> Result<Arguments, ToolError> {
    serde_json::from_value(value)
        .map_err(|error| ToolError::Tell(format!("the arguments do not fit: {error}")))
}

/// Runs a blocking function where it does not keep others waiting. Its panic goes on in the caller.
pub async fn blocking<T: Send + 'static>(function: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(function).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime stops, and this future with it.
            Err(_) => std::future::pending().await,
        },
    }
}

pub fn finished<T: Serialize>(value: T) -> Result<ToolOutput, ToolError> {
    if size_of::<T>() == 0 {
        // Nothing to say is no `null` to a model.
        return Ok("done".into());
    }
    let written = serde_json::to_string(&value);
    let written = written
        .map_err(|error| ToolError::Tell(format!("the result cannot be written: {error}")))?;
    // A text is itself, without the quotes; anything else keeps its order and spelling.
    let text = written.starts_with('"').then(|| serde_json::from_str::<String>(&written));
    Ok(text.and_then(Result::ok).unwrap_or(written).into())
}

pub fn fallible<T: Serialize, E: Display + 'static>(
    result: Result<T, E>,
) -> Result<ToolOutput, ToolError> {
    match result {
        Ok(value) => finished(value),
        Err(error) => Err(match (&error as &dyn Any).downcast_ref::<ToolError>() {
            Some(error) => error.clone(),
            // With its causes, where the error lists them.
            None => ToolError::Tell(format!("{error:#}")),
        }),
    }
}
