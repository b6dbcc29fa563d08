//! The tools of an agent, made ready once: names looked up, schemas compiled, the list a model reads.

use std::collections::HashMap;
use std::sync::Arc;

use super::BuildError;
use crate::model::ToolSet;
use crate::tool::{Tool, ToolSpec};
use crate::validate::Schema;

#[derive(Clone, Default)]
pub(crate) struct Toolset {
    tools: HashMap<String, Held>,
    specs: ToolSet,
}

#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) tool: Arc<dyn Tool>,
    pub(crate) arguments: Arc<Schema>,
}

impl Toolset {
    pub(crate) fn new(tools: &[Arc<dyn Tool>]) -> Result<Self, BuildError> {
        let mut held = HashMap::new();
        for tool in tools {
            let spec = tool.spec();
            let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if !(1..=64).contains(&spec.name.len()) || !spec.name.chars().all(allowed) {
                return Err(BuildError::ToolName(spec.name.clone()));
            }
            let schema = Schema::new(&spec.parameters)
                .map_err(|message| BuildError::ToolSchema { tool: spec.name.clone(), message })?;
            let one = Held { tool: tool.clone(), arguments: Arc::new(schema) };
            if held.insert(spec.name.clone(), one).is_some() {
                return Err(BuildError::DuplicateTool(spec.name.clone()));
            }
        }
        Ok(Self { tools: held, specs: tools.iter().map(|tool| tool.spec().clone()).collect() })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Held> {
        self.tools.get(name)
    }

    /// In the order in which they were given.
    pub(crate) fn specs(&self) -> &ToolSet {
        &self.specs
    }

    pub(crate) fn tools(&self) -> Vec<Arc<dyn Tool>> {
        let tool = |spec: &ToolSpec| self.tools.get(&spec.name).map(|held| held.tool.clone());
        self.specs.iter().filter_map(tool).collect()
    }
}
