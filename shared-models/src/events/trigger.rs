//! Triggers firing.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Event, Stream};
use crate::{AgentId, DeliveryId, EventId, TenantId, TriggerId, UserId};

crate::text_enum! {
    /// What a trigger can start.
    pub enum TargetKind {
        /// One agent.
        Agent = "agent",
        /// A group of agents.
        Swarm = "swarm",
        /// A graph of steps.
        Workflow = "workflow",
        /// Whatever the router picks.
        Route = "route",
    }
}

/// What a firing starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct Target {
    /// The kind of thing.
    pub kind: TargetKind,
    /// Which one; none for `route`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
}

/// A delivery matched a trigger. Each (event, attempt) makes exactly one run.
/// Sent by `eventsvc`; heard by `engine`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TriggerFired {
    /// The trigger that fired.
    pub trigger_id: TriggerId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// The agent to run, when the target is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// The kind of source: `webhook`, `timer`, `gmail`, …
    pub system: String,
    /// When the trigger fired.
    pub timestamp: DateTime<Utc>,
    /// What was received; absent when it is larger than 256 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// Where a payload too large to travel can be fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_in: Option<DeliveryId>,
    /// This firing.
    pub event_id: EventId,
    /// What to start.
    pub target: Target,
    /// The provider's own id of what was received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedupe_key: Option<String>,
    /// The delivery that fired.
    pub delivery_id: DeliveryId,
    /// When it happened, as the provider says, or else when it came.
    pub occurred_at: DateTime<Utc>,
    /// When it came.
    pub received_at: DateTime<Utc>,
    /// 1 for the first firing; a replay keeps the event and raises this.
    pub attempt: i32,
    /// The person in whose name the run acts.
    pub owner: UserId,
}

impl Event for TriggerFired {
    const STREAM: Stream = Stream::Triggers;
    const NAME: &'static str = "trigger.fired";
}
