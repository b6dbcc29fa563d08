//! What differs between the kinds of tools.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use serde_path_to_error::Segment;
use servicekit::FieldError;
use shared_models::{Effect, ToolKind};
use utoipa::ToSchema;

use super::{
    ToolFields,
    agent::AgentConfig,
    builtin::BuiltinConfig,
    http::{CredentialPlace, HttpConfig},
    mcp::McpConfig,
};

/// How a tool does what it does; which of these is said by its `kind`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum ToolConfig {
    Http(HttpConfig),
    Builtin(BuiltinConfig),
    Mcp(McpConfig),
    Agent(AgentConfig),
}

impl ToolConfig {
    pub(crate) fn read(kind: ToolKind, config: &Value) -> Result<Self, FieldError> {
        Ok(match kind {
            ToolKind::Http => Self::Http(read(config)?),
            ToolKind::Builtin => Self::Builtin(read(config)?),
            ToolKind::Mcp => Self::Mcp(read(config)?),
            ToolKind::Agent => Self::Agent(read(config)?),
        })
    }

    pub(crate) fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Fills in what the kind itself decides.
    pub(super) fn complete(&self, fields: &mut ToolFields) {
        match self {
            Self::Http(_) | Self::Mcp(_) => {}
            Self::Builtin(config) => config.complete(fields),
            Self::Agent(_) => AgentConfig::complete(fields),
        }
    }

    /// Lists every field of the configuration that cannot be so.
    pub(crate) fn check(&self, parameters: &Value) -> Vec<FieldError> {
        match self {
            Self::Http(config) => config.check(parameters),
            Self::Builtin(config) => config.check(),
            Self::Agent(config) => config.target().err().into_iter().collect(),
            Self::Mcp(_) => Vec::new(),
        }
    }

    /// What a repeat of a call does, where people may say so.
    pub(crate) fn effect(&self, declared: Option<Effect>) -> Effect {
        match self {
            Self::Http(config) => declared.unwrap_or_else(|| config.method.effect()),
            Self::Builtin(config) => config.builtin.effect(),
            // Said by whoever made the tool out of what the server lists.
            Self::Mcp(_) => declared.unwrap_or(Effect::Unsafe),
            // The child run has one id for all attempts at the call.
            Self::Agent(_) => Effect::Idempotent,
        }
    }

    /// Whom calls may reach.
    pub(crate) fn hosts(&self) -> Vec<String> {
        match self {
            Self::Http(config) => config.hosts(),
            Self::Builtin(config) => config.hosts(),
            Self::Mcp(config) => config.connection.hosts(),
            Self::Agent(_) => Vec::new(),
        }
    }

    /// Where the agent's credential goes, if the tool has a place for one.
    pub(crate) fn credential(&self) -> Option<CredentialPlace> {
        match self {
            Self::Http(config) => config.credential.clone(),
            Self::Builtin(config) => config.credential(),
            Self::Mcp(config) => config.connection.credential.clone(),
            Self::Agent(_) => None,
        }
    }
}

fn read<T: DeserializeOwned>(config: &Value) -> Result<T, FieldError> {
    serde_path_to_error::deserialize(config).map_err(|error| {
        let inside: String = error
            .path()
            .iter()
            .filter_map(|segment| match segment {
                Segment::Seq { index } => Some(format!("/{index}")),
                Segment::Map { key } => {
                    Some(format!("/{}", key.replace('~', "~0").replace('/', "~1")))
                }
                Segment::Enum { .. } | Segment::Unknown => None,
            })
            .collect();
        FieldError::new(format!("/config{inside}"), error.inner().to_string())
    })
}
