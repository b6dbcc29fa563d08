//! Firing again: replays, and what was held while a trigger was paused. Same event, next attempt.

use dbutil::TenantTx;
use serde_json::{Value, json};
use shared_models::{EventId, TriggerId};

use crate::{
    error::Error,
    event::Parts,
    hooks, payload,
    store::{self, firing::Refire, step::NewStep},
};

/// Fires once more; the caller commits and rings the relay.
pub(crate) async fn fire(
    tx: &mut TenantTx,
    again: &Refire,
    step: &'static str,
    by: Option<&str>,
) -> Result<(EventId, i32), Error> {
    let attempt = again.attempt + 1;
    let payload = payload::parse(again.content_type.as_deref(), &again.body).unwrap_or(Value::Null);
    let parts = Parts {
        tenant_id: tx.tenant(),
        trigger_id: again.trigger_id,
        system: &again.system,
        target: hooks::target(&again.target_kind, again.target_id)?,
        owner: again.owner_id,
        delivery_id: again.delivery_id,
        dedupe_key: again.dedupe_key.clone().filter(|key| !key.starts_with("body:")),
        occurred_at: again.occurred_at,
        received_at: again.received_at,
        fired_at: again.now,
        payload: &payload,
        size: again.body.len(),
    };
    let event = parts.event(again.event_id, attempt);
    store::firing::fire(tx, again.event_id, attempt).await?;
    store::delivery::mark_fired(tx, again.delivery_id).await?;
    let new = NewStep {
        delivery_id: again.delivery_id,
        event_id: again.event_id,
        attempt,
        step,
        run_id: None,
        detail: json!({ "was": again.status, "by": by }),
        at: None,
    };
    store::step::insert(tx, &new).await?;
    pubsub::emit_as(tx, again.event_id.uuid(), attempt, &event).await?;
    Ok((again.event_id, attempt))
}

/// Why this firing cannot fire now, if it cannot.
pub(crate) fn obstacle(again: &Refire) -> Option<String> {
    let id: TriggerId = again.trigger_id;
    if again.deleted {
        Some(format!("the trigger {id} is deleted"))
    } else if !again.active {
        Some(format!("the trigger {id} is not active"))
    } else {
        None
    }
}
