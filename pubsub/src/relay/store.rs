//! The relay's SQL.

use dbutil::{Db, SystemTx};
use shared_models::MessageId;

use super::publish::{Ack, ToSend};
use crate::topology::StreamSpec;

/// Locks up to `limit` unpublished rows that no other replica works on, oldest first.
pub(super) async fn claim(
    tx: &mut SystemTx,
    limit: usize,
    aside: &[MessageId],
) -> Result<Vec<ToSend>, sqlx::Error> {
    let rows: Vec<(MessageId, String, String, Option<i64>)> = sqlx::query_as(
        "select message_id, subject, envelope::text, stream_seq from outbox
         where published_at is null and message_id <> all ($2)
         order by created_at, message_id limit $1 for update skip locked",
    )
    .bind(limit as i64)
    .bind(aside.iter().map(|id| id.uuid()).collect::<Vec<_>>())
    .fetch_all(&mut **tx)
    .await?;
    let sending = |(id, subject, envelope, earlier): (_, _, String, _)| ToSend {
        id,
        subject,
        envelope: envelope.into(),
        earlier,
    };
    Ok(rows.into_iter().map(sending).collect())
}

/// Marks what the broker acknowledged. The commit need not reach the disk at once: a lost mark means one more
/// publication, which the broker or the hearer's inbox drops.
pub(super) async fn mark(tx: &mut SystemTx, acks: &[Ack]) -> Result<(), sqlx::Error> {
    if acks.is_empty() {
        return Ok(());
    }
    // On a fast-growing table the planner would read all of it until statistics catch up.
    sqlx::raw_sql(
        "set local synchronous_commit = off; set local enable_seqscan = off; set local jit = off",
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "update outbox set published_at = now(), stream = ack.stream, stream_seq = ack.seq
         from unnest($1::uuid[], $2::text[], $3::bigint[]) as ack (id, stream, seq)
         where outbox.message_id = ack.id",
    )
    .bind(acks.iter().map(|ack| ack.id.uuid()).collect::<Vec<_>>())
    .bind(acks.iter().map(|ack| ack.stream.as_str()).collect::<Vec<_>>())
    .bind(acks.iter().map(|ack| ack.sequence).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// The highest sequence the broker has given to this service's events; 0 when there is none.
pub(super) async fn highest(db: &Db, spec: &StreamSpec) -> Result<i64, sqlx::Error> {
    let highest: Option<i64> = sqlx::query_scalar(
        "select max(stream_seq) from outbox where stream = $1 and published_at is not null",
    )
    .bind(spec.stream.name())
    .fetch_one(db.system_pool())
    .await?;
    Ok(highest.unwrap_or_default())
}

/// Reports how long the oldest unpublished event has waited.
pub(super) async fn measure(db: &Db) -> Result<(), sqlx::Error> {
    let waiting: Option<f64> = sqlx::query_scalar(
        "select extract(epoch from now() - min(created_at))::float8 from outbox
         where published_at is null",
    )
    .fetch_one(db.system_pool())
    .await?;
    metrics::gauge!("pubsub_outbox_oldest_seconds", "schema" => db.schema())
        .set(waiting.unwrap_or_default());
    Ok(())
}
