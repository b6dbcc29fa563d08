//! The tools that let a model write to its memory and read from it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shared_models::effect::Effect;

use super::Memory;
use crate::tool::{FnTool, Tool, ToolError};

pub(crate) const TOOLS: [&str; 2] = ["remember", "recall"];

const TIMEOUT: Duration = Duration::from_secs(30);
const MOST_FACTS: usize = 20;

pub(crate) fn tools(memory: &Arc<dyn Memory>) -> Vec<Arc<dyn Tool>> {
    vec![Arc::new(remember(memory.clone())), Arc::new(recall(memory.clone()))]
}

fn remember(memory: Arc<dyn Memory>) -> FnTool {
    let parameters = json!({ "type": "object", "required": ["fact"], "properties": { "fact": {
        "type": "string", "minLength": 1, "maxLength": 2000,
        "description": "One sentence that makes sense by itself." } } });
    let about = "Keeps a fact for later conversations.";
    let tool = FnTool::new(TOOLS[0], about, parameters, move |arguments: Value| {
        let memory = memory.clone();
        async move {
            let fact = arguments["fact"].as_str().unwrap_or_default();
            memory.remember(fact).await.map_err(|error| ToolError::Tell(error.to_string()))?;
            Ok("It is remembered.")
        }
    });
    tool.effect(Effect::Idempotent).timeout(TIMEOUT)
}

fn recall(memory: Arc<dyn Memory>) -> FnTool {
    let parameters = json!({ "type": "object", "required": ["query"], "properties": { "query": {
        "type": "string", "description": "What it is about; nothing for the newest facts." } } });
    let about = "Finds facts kept in earlier conversations.";
    let tool = FnTool::new(TOOLS[1], about, parameters, move |arguments: Value| {
        let memory = memory.clone();
        async move {
            let query = arguments["query"].as_str().unwrap_or_default();
            let facts = memory.recall(query, MOST_FACTS).await;
            let facts = facts.map_err(|error| ToolError::Tell(error.to_string()))?;
            Ok(if facts.is_empty() { "Nothing is known.".into() } else { facts.join("\n") })
        }
    });
    tool.effect(Effect::Read).timeout(TIMEOUT)
}
