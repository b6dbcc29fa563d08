//! Firing again: replays, what was held while a trigger was paused, and what waited for its turn. Same event, next attempt.

use std::sync::Arc;

use dbutil::TenantTx;
use serde_json::{Map, Value, json};
use shared_models::{EventId, TenantId, TriggerId, events::trigger::TargetKind};

use crate::{
    error::Error,
    event::Parts,
    filter::Seen,
    flow::Flow,
    hooks,
    input::{LARGEST_INPUT, Template},
    intake::{NO_ROUTER, System},
    payload,
    store::{self, firing::Refire, step::NewStep},
};

/// What is fired again.
pub(crate) struct Again<'a> {
    pub firing: &'a Refire,
    /// Others whose payloads go along, the firing's own in its place; empty for itself alone.
    pub together: &'a [Refire],
}

impl<'a> Again<'a> {
    /// One firing by itself.
    pub(crate) fn alone(firing: &'a Refire) -> Self {
        Self { firing, together: &[] }
    }
}

/// What the agent will be given, and how large that is; the error says why nothing can be made.
pub(crate) async fn given(tenant: TenantId, again: &Again<'_>) -> Result<(Value, usize), String> {
    let own = parsed(again.firing);
    let (payload, size) = if again.together.is_empty() {
        (own, again.firing.body.len())
    } else {
        let all: Value = again.together.iter().map(parsed).collect();
        let size = all.to_string().len();
        if size > LARGEST_INPUT {
            return Err("the batch is larger than 256 KiB".into());
        }
        (all, size)
    };
    let Some(template) = &again.firing.input else { return Ok((payload, size)) };
    let headers = again.firing.headers.as_object().cloned().unwrap_or_default();
    let input = Template::compile(template)?
        .fill(&seen(tenant, again.firing, (payload, size), headers))
        .await?;
    let size = input.to_string().len();
    Ok((input, size))
}

/// What went along with a firing when it fired as a batch; nothing where it fired by itself.
pub(crate) async fn batch(tx: &mut TenantTx, firing: &Refire) -> Result<Vec<Refire>, sqlx::Error> {
    let flow: Option<Flow> =
        firing.flow.as_ref().and_then(|flow| serde_json::from_value(flow.clone()).ok());
    if firing.attempt == 0 || flow.is_none_or(|flow| flow.batch.is_none()) {
        return Ok(Vec::new());
    }
    store::firing::together(tx, firing.event_id).await
}

/// A stored delivery as expressions see it.
pub(crate) fn seen(
    tenant: TenantId,
    firing: &Refire,
    (payload, size): (Value, usize),
    headers: Map<String, Value>,
) -> Seen {
    let system = firing.system.parse::<System>().map_or("", System::as_str);
    Seen { tenant, payload: Arc::new(payload), size, headers: Arc::new(headers), system }
}

/// What a stored delivery brought.
pub(crate) fn parsed(firing: &Refire) -> Value {
    payload::parse(firing.content_type.as_deref(), &firing.body).unwrap_or(Value::Null)
}

/// Fires once more with what was made of it; the caller commits and rings the relay.
pub(crate) async fn fire(
    tx: &mut TenantTx,
    again: &Refire,
    (given, size): &(Value, usize),
    step: &'static str,
    by: Option<&str>,
) -> Result<(EventId, i32), Error> {
    let attempt = again.attempt + 1;
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
        payload: given,
        size: *size,
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
    } else if again.target_kind == TargetKind::Route.as_str() {
        Some(NO_ROUTER.to_owned())
    } else {
        None
    }
}
