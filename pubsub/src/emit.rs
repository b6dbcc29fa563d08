//! The sender's side: an event is a row of the outbox, committed with what it tells of.

use chrono::{DateTime, Utc};
use dbutil::TenantTx;
use shared_models::{
    MessageId, TenantId,
    events::{Envelope, Event},
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::trace;

/// A row of the outbox, for services that write many at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// One publication; becomes `Nats-Msg-Id`.
    pub message_id: MessageId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// What happened; a replay is another attempt of the same event.
    pub event_id: Uuid,
    /// 0 unless the event is sent again on purpose.
    pub attempt: i32,
    /// Where it is published.
    pub subject: String,
    /// The envelope as JSON text.
    pub envelope: String,
}

impl OutboxRow {
    /// Makes the row of `event`. `occurred_at` is the database's time.
    pub fn new<E: Event>(
        tenant_id: TenantId,
        (event_id, attempt): (Uuid, i32),
        occurred_at: DateTime<Utc>,
        event: &E,
    ) -> Result<Self, serde_json::Error> {
        let message_id = message_id(event_id, attempt);
        let envelope = envelope(message_id, tenant_id, occurred_at, event)?;
        let subject = E::subject(tenant_id);
        Ok(Self { message_id, tenant_id, event_id, attempt, subject, envelope })
    }

    /// The row of an event of which only now is known when it happened: it was made with [`DateTime::UNIX_EPOCH`], which
    /// the statement that wrote the row has replaced by the database's time.
    #[must_use]
    pub fn at(mut self, occurred_at: DateTime<Utc>) -> Self {
        let field = |at: DateTime<Utc>| {
            let at = at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
            format!(r#""occurred_at":"{at}""#)
        };
        let unknown = r#""occurred_at":"1970-01-01T00:00:00Z""#;
        self.envelope = self.envelope.replacen(unknown, &field(occurred_at), 1);
        self
    }
}

/// Sends `event` when the transaction commits. Ring the relay after the commit.
pub async fn emit<E: Event>(tx: &mut TenantTx, event: &E) -> Result<MessageId, sqlx::Error> {
    let id = MessageId::mint();
    insert(tx, id, (id.uuid(), 0), event).await
}

/// Sends `event` under an id that follows from the event and the attempt: however often this is called, it is
/// published and heard once.
pub async fn emit_as<E: Event>(
    tx: &mut TenantTx,
    event_id: Uuid,
    attempt: i32,
    event: &E,
) -> Result<MessageId, sqlx::Error> {
    insert(tx, message_id(event_id, attempt), (event_id, attempt), event).await
}

/// The message id of an attempt of an event.
pub fn message_id(event_id: Uuid, attempt: i32) -> MessageId {
    Uuid::new_v5(&event_id, &attempt.to_be_bytes()).into()
}

/// Writes many rows in one statement. `app.tenants` must name every row's tenant (or the login be the system's);
/// a row that exists already is left alone.
pub async fn insert_rows(
    connection: &mut PgConnection,
    rows: &[OutboxRow],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into outbox (message_id, tenant_id, event_id, attempt, subject, envelope)
         select message_id, tenant_id, event_id, attempt, subject, envelope::jsonb
         from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int[], $5::text[], $6::text[])
              as row (message_id, tenant_id, event_id, attempt, subject, envelope)
         on conflict (message_id) do nothing",
    )
    .bind(rows.iter().map(|row| row.message_id.uuid()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.tenant_id.uuid()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.event_id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.attempt).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.subject.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.envelope.as_str()).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(drop)
}

async fn insert<E: Event>(
    tx: &mut TenantTx,
    id: MessageId,
    (event_id, attempt): (Uuid, i32),
    event: &E,
) -> Result<MessageId, sqlx::Error> {
    let tenant = tx.tenant();
    // The time is replaced below: only the database knows it.
    let envelope = envelope(id, tenant, DateTime::UNIX_EPOCH, event)
        .map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query(
        "insert into outbox (message_id, tenant_id, event_id, attempt, subject, envelope)
         values ($1, $2, $3, $4, $5, $6::jsonb || jsonb_build_object('occurred_at', now()))
         on conflict (message_id) do nothing",
    )
    .bind(id)
    .bind(tenant)
    .bind(event_id)
    .bind(attempt)
    .bind(E::subject(tenant))
    .bind(envelope)
    .execute(&mut **tx)
    .await?;
    Ok(id)
}

fn envelope<E: Event>(
    id: MessageId,
    tenant: TenantId,
    occurred_at: DateTime<Utc>,
    event: &E,
) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Envelope {
        id,
        kind: E::NAME.to_owned(),
        version: E::VERSION,
        tenant,
        occurred_at,
        traceparent: trace::current(),
        data: event,
    })
}

#[cfg(test)]
mod tests {
    use shared_models::{AgentId, events::agent::AgentDeleted};

    use super::*;

    #[test]
    fn a_row_is_told_later_when_its_event_happened() {
        let event = AgentDeleted { agent_id: AgentId::mint(), name: "a".into() };
        let tenant = TenantId::mint();
        let row = |at| OutboxRow::new(tenant, (Uuid::nil(), 0), at, &event).unwrap();
        let at: DateTime<Utc> = "2026-01-02T03:04:05.678901Z".parse().unwrap();

        let told = row(DateTime::UNIX_EPOCH).at(at);

        let envelope: Envelope<serde_json::Value> = serde_json::from_str(&told.envelope).unwrap();
        assert_eq!((envelope.occurred_at, envelope.kind.as_str()), (at, AgentDeleted::NAME));
        let known = row(at);
        assert_eq!(known.clone().at(DateTime::UNIX_EPOCH), known, "what is known stays");
    }
}
