//! The life of swarms, for other services.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Event, Stream};
use crate::SwarmId;

/// A swarm was deleted: it starts no runs any more, those under way finish.
/// Sent by `engine`; heard by `eventsvc` (its triggers pause). Travels with the engine's other events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SwarmDeleted {
    /// Which swarm.
    pub swarm_id: SwarmId,
    /// What it was called.
    pub name: String,
}

impl Event for SwarmDeleted {
    const STREAM: Stream = Stream::Runs;
    const NAME: &'static str = "swarm.deleted";
}
