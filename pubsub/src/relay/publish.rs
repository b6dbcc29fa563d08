//! One pipelined group of publications.

use std::error::Error as _;

use async_nats::jetstream::{
    self,
    context::{PublishError, PublishErrorKind},
    message::PublishMessage,
};
use bytes::Bytes;
use futures::future::join_all;
use shared_models::MessageId;

use crate::{Bus, OutboxRow};

pub(super) struct ToSend {
    pub(super) id: MessageId,
    pub(super) subject: String,
    pub(super) envelope: Bytes,
    /// Its sequence when it was published before.
    pub(super) earlier: Option<i64>,
}

impl From<OutboxRow> for ToSend {
    fn from(row: OutboxRow) -> Self {
        let (id, subject) = (row.message_id, row.subject);
        Self { id, subject, envelope: row.envelope.into(), earlier: None }
    }
}

pub(super) struct Ack {
    pub(super) id: MessageId,
    pub(super) stream: String,
    pub(super) sequence: i64,
    /// The broker had it already; the sequence is that of the first time.
    pub(super) duplicate: bool,
}

/// What became of a group.
#[derive(Default)]
pub(super) struct Published {
    pub(super) acks: Vec<Ack>,
    /// Rows that are themselves at fault.
    pub(super) refused: Vec<(MessageId, PublishError)>,
    /// Why the rest could not be published, if anything was left.
    pub(super) down: Option<String>,
}

/// Sends all, then waits for all acknowledgements.
pub(super) async fn publish(bus: &Bus, rows: &[ToSend]) -> Published {
    let mut published = Published::default();
    if !bus.is_connected() {
        published.down = Some("not connected".into());
        return published;
    }
    let mut waiting = Vec::with_capacity(rows.len());
    for row in rows {
        let message =
            PublishMessage::build().payload(row.envelope.clone()).message_id(broker_id(row));
        match bus.jetstream().send_publish(row.subject.clone(), message).await {
            Ok(ack) => waiting.push(async move { (row.id, ack.await) }),
            Err(error) => published.failed(row.id, error),
        }
    }
    for (id, answer) in join_all(waiting).await {
        match answer {
            Ok(ack) => published.acks.push(Ack {
                id,
                stream: ack.stream,
                sequence: ack.sequence as i64,
                duplicate: ack.duplicate,
            }),
            Err(error) => published.failed(id, error),
        }
    }
    published
}

impl Published {
    fn failed(&mut self, id: MessageId, error: PublishError) {
        let its_own_fault = match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => true,
            PublishErrorKind::Other => refusal(&error).is_some_and(|said| said.code() < 500),
            _ => false,
        };
        if its_own_fault {
            self.refused.push((id, error));
        } else {
            self.down = Some(error.to_string());
        }
    }
}

/// What JetStream said, if it was JetStream that refused.
fn refusal(error: &PublishError) -> Option<&jetstream::Error> {
    error.source()?.downcast_ref()
}

/// The id the broker drops duplicates by. One that is published again on purpose needs another, or the broker
/// might still remember the first.
fn broker_id(row: &ToSend) -> String {
    match row.earlier {
        None => row.id.to_string(),
        Some(sequence) => format!("{}:{sequence}", row.id),
    }
}
