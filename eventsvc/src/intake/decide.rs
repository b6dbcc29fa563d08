//! What a verified, readable delivery does to each trigger of its source.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Duration, Utc};
use http::HeaderMap;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use shared_models::{DeliveryId, EventId};

use super::{DedupeKey, NewFiring, Received, Verdict};
use crate::{
    event,
    filter::Seen,
    hooks::{Hook, HookTrigger},
    options::Dedupe,
    verify::Verified,
};

/// Longer ids are replaced by their hash.
const LONGEST_KEY: usize = 255;

/// Whether this is the real thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trial {
    /// It came in at the hook.
    No,
    /// A person tries the trigger out: never a repetition, and only the trigger they mean.
    Yes,
}

/// A delivery as far as it is understood.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub headers: &'a HeaderMap,
    pub kept: Map<String, Value>,
    pub body: Bytes,
    pub payload: Value,
    pub verified: Verified,
    pub now: DateTime<Utc>,
    pub trial: Trial,
}

/// Decides what fires. Only filters take time.
pub(crate) async fn decide(hook: &Hook, triggers: &[HookTrigger], draft: Draft<'_>) -> Received {
    let dedupe = match draft.trial {
        Trial::Yes => None,
        Trial::No => dedupe_key(hook.options.dedupe.as_ref(), &draft),
    };
    let verified_by = match draft.trial {
        Trial::Yes => "test",
        Trial::No => hook.options.verify.scheme.as_str(),
    };
    let payload = Arc::new(draft.payload);
    let kept = Arc::new(draft.kept);
    let size = draft.body.len();
    let content_type = draft.headers.get(http::header::CONTENT_TYPE);
    let mut received = Received {
        delivery_id: DeliveryId::mint(),
        tenant_id: hook.tenant_id,
        source_id: hook.source_id,
        dedupe,
        verified_by,
        content_type: content_type.and_then(|value| value.to_str().ok()).map(ToOwned::to_owned),
        headers: Value::Object((*kept).clone()),
        body: draft.body,
        occurred_at: draft.verified.at.unwrap_or(draft.now),
        received_at: draft.now,
        firings: Vec::with_capacity(triggers.len()),
    };
    let seen = Seen { payload: payload.clone(), size, headers: kept, system: "webhook" };
    for trigger in triggers {
        let verdict = judge(trigger, &seen).await;
        let event_id = EventId::mint();
        let outbox = (verdict == Verdict::Fired)
            .then(|| event::outbox_row(&event::of(trigger, &received, event_id, 1, &payload)))
            .flatten();
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
            Err(why) => return Verdict::Failed(why),
        },
        Some(Err(why)) => return Verdict::Failed(why.clone()),
        None => {}
    }
    if trigger.paused { Verdict::Held } else { Verdict::Fired }
}

/// What the options say wins over what the scheme brings along.
fn dedupe_key(options: Option<&Dedupe>, draft: &Draft<'_>) -> Option<DedupeKey> {
    let Some(dedupe) = options else {
        return draft.verified.dedupe_key.clone().map(provider_key);
    };
    if let Some(header) = &dedupe.header {
        return draft.headers.get(header)?.to_str().ok().map(|id| provider_key(id.to_owned()));
    }
    if let Some(pointer) = &dedupe.json_pointer {
        return match draft.payload.pointer(pointer)? {
            Value::String(id) => Some(provider_key(id.clone())),
            Value::Number(id) => Some(provider_key(id.to_string())),
            _ => None,
        };
    }
    let hash = hex::encode(Sha256::digest(&draft.body));
    // Stretches of one window each: the same body is the same delivery within a stretch, and in the one before if it
    // came less than a window ago.
    let window = dedupe.window();
    let stretch = draft.now.timestamp().div_euclid(window);
    Some(DedupeKey {
        key: format!("body:{hash}:{stretch}"),
        provider_id: None,
        before: Some((
            format!("body:{hash}:{}", stretch - 1),
            draft.now - Duration::seconds(window),
        )),
    })
}

fn provider_key(id: String) -> DedupeKey {
    let key = if id.len() > LONGEST_KEY {
        format!("sha256:{}", hex::encode(Sha256::digest(&id)))
    } else {
        id.clone()
    };
    DedupeKey { key, provider_id: Some(id), before: None }
}
