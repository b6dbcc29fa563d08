//! The life of agents, for other services.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Event, Stream};
use crate::AgentId;

/// An agent was deleted: it starts no runs any more, those under way finish.
/// Sent by `engine`; heard by `eventsvc` (its triggers pause). Travels with the engine's other events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentDeleted {
    /// Which agent.
    pub agent_id: AgentId,
    /// What it was called.
    pub name: String,
}

impl Event for AgentDeleted {
    const STREAM: Stream = Stream::Runs;
    const NAME: &'static str = "agent.deleted";
}
