//! What a verified, readable delivery does to each trigger of its source.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Duration, Utc};
use http::HeaderMap;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use shared_models::{DeliveryId, EventId, SourceId, TenantId, events::trigger::TargetKind};

use super::{DedupeKey, NewFiring, ReasonClass, Received, System, Verdict, Window};
use crate::{
    error::Error,
    event,
    filter::{Filter, Seen, Unanswered},
    hooks::HookTrigger,
    listening,
    options::Dedupe,
};

/// Longer ids are replaced by their hash.
const LONGEST_KEY: usize = 255;

/// Where a delivery comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub tenant_id: TenantId,
    pub source_id: SourceId,
    pub system: System,
}

/// A delivery as far as it is understood.
#[derive(Debug)]
pub(crate) struct Draft {
    /// How a repetition is told; a trial never is one.
    pub dedupe: Option<DedupeKey>,
    /// What proved its origin.
    pub verified_by: &'static str,
    pub content_type: Option<String>,
    pub headers: Map<String, Value>,
    pub body: Bytes,
    pub payload: Value,
    pub occurred_at: DateTime<Utc>,
    pub now: DateTime<Utc>,
}

/// Decides what fires. Only filters take time.
pub(crate) async fn decide(origin: Origin, triggers: &[HookTrigger], draft: Draft) -> Received {
    let payload = Arc::new(draft.payload);
    let kept = Arc::new(draft.headers);
    let size = draft.body.len();
    let mut received = Received {
        delivery_id: DeliveryId::mint(),
        tenant_id: origin.tenant_id,
        source_id: origin.source_id,
        system: origin.system,
        dedupe: draft.dedupe,
        verified_by: draft.verified_by,
        content_type: draft.content_type,
        headers: Value::Object((*kept).clone()),
        body: draft.body,
        occurred_at: draft.occurred_at,
        received_at: draft.now,
        firings: Vec::with_capacity(triggers.len()),
    };
    let seen = Seen {
        tenant: origin.tenant_id,
        payload: payload.clone(),
        size,
        headers: kept,
        system: origin.system.as_str(),
    };
    for trigger in triggers {
        let mut verdict = judge(trigger, &seen).await;
        let event_id = EventId::mint();
        let mut outbox = None;
        if verdict == Verdict::Fired {
            let filled = filled(trigger, &seen).await;
            match filled {
                Ok(input) => {
                    let given =
                        input.as_ref().map_or((&*payload, size), |(input, size)| (input, *size));
                    outbox = event::outbox_row(&event::of(trigger, &received, event_id, 1, given));
                }
                Err(why) => verdict = Verdict::Failed(ReasonClass::Input, why),
            }
        }
        received.firings.push(NewFiring {
            event_id,
            trigger_id: trigger.trigger_id,
            verdict,
            outbox,
        });
    }
    received
}

async fn judge(trigger: &HookTrigger, seen: &Seen) -> Verdict {
    if !trigger.active {
        return Verdict::Skipped;
    }
    match &trigger.filter {
        Some(Ok(filter)) => match filter.passes(seen).await {
            Ok(true) => {}
            Ok(false) => return Verdict::Filtered,
            Err(why) => return Verdict::Failed(ReasonClass::Filter, why),
        },
        Some(Err(why)) => return Verdict::Failed(ReasonClass::Filter, why.clone()),
        None => {}
    }
    if trigger.paused {
        Verdict::Held
    } else if trigger.target.kind == TargetKind::Route {
        Verdict::Parked
    } else if trigger.queued {
        Verdict::Queued
    } else {
        Verdict::Fired
    }
}

/// What the trigger's template makes of the delivery, and how large that is; none without a template.
async fn filled(trigger: &HookTrigger, seen: &Seen) -> Result<Option<(Value, usize)>, String> {
    match &trigger.input {
        None => Ok(None),
        Some(Err(why)) => Err(why.clone()),
        Some(Ok(template)) => {
            let input = template.fill(seen).await?;
            let size = input.to_string().len();
            Ok(Some((input, size)))
        }
    }
}

/// The id that an expression gives; none where it gives nothing that could be one. Where there was no time for it the
/// delivery is wanted again: without its id a repetition would not be told.
pub(crate) async fn expressed(
    expression: &Filter,
    seen: &Seen,
) -> Result<Option<DedupeKey>, Error> {
    let id = match expression.gives(seen).await {
        Ok(Value::String(id)) if !id.is_empty() && !id.contains('\0') => id,
        Ok(Value::Number(id)) => id.to_string(),
        Ok(Value::Bool(id)) => id.to_string(),
        Ok(_) | Err(Unanswered::Wrong(_)) => return Ok(None),
        Err(Unanswered::NoTime(why)) => {
            tracing::info!(why, "a delivery whose id could not be told in time is wanted again");
            return Err(Error::Busy);
        }
    };
    Ok(Some(DedupeKey::of(id)))
}

/// How a repetition at a hook is told, as its options say; an expression is for [`expressed`].
pub(crate) fn dedupe_key(
    dedupe: &Dedupe,
    headers: &HeaderMap,
    (body, payload): (&[u8], &Value),
    now: DateTime<Utc>,
) -> Option<DedupeKey> {
    if let Some(header) = &dedupe.header {
        return headers.get(header)?.to_str().ok().map(|id| DedupeKey::of(id.to_owned()));
    }
    if let Some(pointer) = &dedupe.json_pointer {
        return match payload.pointer(pointer)? {
            Value::String(id) => Some(DedupeKey::of(id.clone())),
            Value::Number(id) => Some(DedupeKey::of(id.to_string())),
            _ => None,
        };
    }
    let hash = hex::encode(Sha256::digest(body));
    // Stretches of one window each: the same body is the same delivery within a stretch, and in the one before if it
    // came less than a window ago.
    let window = dedupe.window();
    let stretch = now.timestamp().div_euclid(window);
    let key = |stretch: i64| format!("body:{hash}:{stretch}");
    let length = Duration::seconds(window);
    Some(DedupeKey {
        key: key(stretch),
        provider_id: None,
        window: Some(Window {
            before: (key(stretch - 1), now - length),
            after: (key(stretch + 1), now + length),
        }),
        about: None,
        nearby: None,
    })
}

impl DedupeKey {
    /// By an id that whoever sent it gave it.
    pub(crate) fn of(id: String) -> Self {
        let key = if id.len() > LONGEST_KEY {
            format!("sha256:{}", hex::encode(Sha256::digest(&id)))
        } else {
            id.clone()
        };
        Self { key, provider_id: Some(id), window: None, about: None, nearby: None }
    }

    /// The same, and what it tells of.
    pub(crate) fn telling_of(self, about: Option<String>) -> Self {
        let nearby = about.as_deref().and_then(listening::hubspot_nearby);
        Self { about, nearby, ..self }
    }
}
