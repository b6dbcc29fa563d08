//! The event that a firing sends.

use pubsub::OutboxRow;
use serde_json::Value;
use shared_models::{
    AgentId, DeliveryId, EventId, TenantId, TriggerId, UserId,
    events::trigger::{Target, TargetKind, TriggerFired},
};

use crate::{hooks::HookTrigger, intake::Received};
use chrono::{DateTime, Utc};

/// Larger payloads stay here and are fetched.
const LARGEST_PAYLOAD: usize = 256 * 1024;
/// A smaller body cannot become larger than that, however its characters are escaped.
const SURELY_SMALL: usize = LARGEST_PAYLOAD / 6;

/// What an event is made of, whether the delivery just came or is fired again.
pub(crate) struct Parts<'a> {
    pub tenant_id: TenantId,
    pub trigger_id: TriggerId,
    pub system: &'a str,
    pub target: Target,
    pub owner: UserId,
    pub delivery_id: DeliveryId,
    pub dedupe_key: Option<String>,
    pub occurred_at: DateTime<Utc>,
    pub received_at: DateTime<Utc>,
    pub fired_at: DateTime<Utc>,
    pub payload: &'a Value,
    pub size: usize,
}

/// The event of a delivery that just came.
pub(crate) fn of(
    trigger: &HookTrigger,
    received: &Received,
    event_id: EventId,
    attempt: i32,
    (payload, size): (&Value, usize),
) -> TriggerFired {
    let parts = Parts {
        tenant_id: received.tenant_id,
        trigger_id: trigger.trigger_id,
        system: received.system.as_str(),
        target: trigger.target,
        owner: trigger.owner_id,
        delivery_id: received.delivery_id,
        dedupe_key: received.dedupe.as_ref().and_then(|dedupe| dedupe.provider_id.clone()),
        occurred_at: received.occurred_at,
        received_at: received.received_at,
        fired_at: received.received_at,
        payload,
        size,
    };
    parts.event(event_id, attempt)
}

impl Parts<'_> {
    /// The event of one attempt.
    pub(crate) fn event(&self, event_id: EventId, attempt: i32) -> TriggerFired {
        let travels = travels(self.payload, self.size);
        TriggerFired {
            trigger_id: self.trigger_id,
            tenant_id: self.tenant_id,
            agent_id: match self.target.kind {
                TargetKind::Agent => self.target.id.map(AgentId::from),
                TargetKind::Swarm | TargetKind::Workflow | TargetKind::Route => None,
            },
            system: self.system.to_owned(),
            timestamp: self.fired_at,
            payload: travels.then(|| self.payload.clone()),
            payload_in: (!travels).then_some(self.delivery_id),
            event_id,
            target: self.target,
            dedupe_key: self.dedupe_key.clone(),
            delivery_id: self.delivery_id,
            occurred_at: self.occurred_at,
            received_at: self.received_at,
            attempt,
            owner: self.owner,
        }
    }
}

/// The outbox row of an event, for the committer.
pub(crate) fn outbox_row(event: &TriggerFired) -> Option<OutboxRow> {
    let key = (event.event_id.uuid(), event.attempt);
    // JSON of plain fields has nothing left to fail on.
    OutboxRow::new(event.tenant_id, key, event.timestamp, event).ok()
}

fn travels(payload: &Value, size: usize) -> bool {
    size <= SURELY_SMALL
        || size <= LARGEST_PAYLOAD
            && serde_json::to_string(payload).is_ok_and(|text| text.len() <= LARGEST_PAYLOAD)
}
