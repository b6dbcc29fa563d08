//! From bytes to an event, or to something that can be parked.

use anyhow::{Context as _, ensure};
use async_nats::jetstream::Message;
use serde_json::{Value, json};
use shared_models::{MessageId, TenantId, events::Envelope};
use uuid::Uuid;

use crate::{Heard, inbox::Kept, topology::Consumer};

/// Unreadable bytes are kept for a person, but not any amount of them.
const KEPT_BYTES: usize = 64 * 1024;

/// Reads an event and checks that it is what its subject says.
pub(crate) fn decode<E: Heard>(
    consumer: &Consumer,
    subject: &str,
    payload: &[u8],
) -> anyhow::Result<Envelope<E>> {
    let envelope: Envelope<E> = serde_json::from_slice(payload).context("it cannot be read")?;
    let Envelope { kind, version, tenant, .. } = &envelope;
    ensure!(E::is(kind, *version), "`{kind}` version {version} is not heard by this consumer");
    let expected = format!("{}.{tenant}.{kind}.v{version}", consumer.stream);
    ensure!(subject == expected, "it came on {subject}, not on {expected}");
    Ok(envelope)
}

/// The message as it would be parked.
pub(crate) fn keep(message: &Message) -> Kept {
    let (subject, payload) = (message.subject.to_string(), &message.payload);
    let known: Option<(MessageId, TenantId)> = serde_json::from_slice::<Envelope<Value>>(payload)
        .ok()
        .map(|envelope| (envelope.id, envelope.tenant));
    match (known, std::str::from_utf8(payload)) {
        (Some((id, tenant)), Ok(text)) => {
            // An escaped NUL is JSON, but no jsonb.
            Kept { id, tenant, subject, envelope: text.replace("\\u0000", "\\ufffd") }
        }
        _ => unreadable(message, subject),
    }
}

/// Not an envelope: it belongs to no tenant, and its place in the stream is its id.
fn unreadable(message: &Message, subject: String) -> Kept {
    let place = message.info().map_or_else(
        |_| subject.clone(),
        |info| format!("{}:{}", info.stream, info.stream_sequence),
    );
    let payload = &message.payload[..message.payload.len().min(KEPT_BYTES)];
    // Postgres stores no NUL in jsonb.
    let text = String::from_utf8_lossy(payload).replace('\0', "\u{fffd}");
    Kept {
        id: Uuid::new_v5(&Uuid::NAMESPACE_OID, place.as_bytes()).into(),
        tenant: Uuid::nil().into(),
        subject,
        envelope: json!({ "unreadable": text }).to_string(),
    }
}
