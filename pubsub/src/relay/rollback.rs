//! A broker acknowledges before its disk does, and its store can be restored from a copy: what it had acknowledged may be
//! gone. Published rows are kept for a day so that they can be published again; hearers drop what they had already.

use dbutil::{Db, SystemTx};
use shared_models::MessageId;

use super::{Trouble, publish::Ack, store};
use crate::{
    Bus,
    topology::{StreamSpec, stream_of},
};

/// Marks everything the broker no longer has as unpublished; says how many rows. Noticed by a last sequence below one
/// that was acknowledged.
pub async fn republish_rolled_back(db: &Db, bus: &Bus) -> anyhow::Result<u64> {
    let spec = stream_of(bus.service());
    let highest = store::highest(db, spec).await?;
    let last = bus.last_sequence(spec).await? as i64;
    Ok(unpublish_above(db, spec, last, highest).await?)
}

/// Marks rows as unpublished, for a service that knows that an event had no effect although it was acknowledged. Ring
/// the relay afterwards. Says how many rows there were.
pub async fn republish(db: &Db, ids: &[MessageId]) -> Result<u64, sqlx::Error> {
    sqlx::query(
        "update outbox set published_at = null
         where message_id = any ($1) and published_at is not null",
    )
    .bind(ids.iter().map(|id| id.uuid()).collect::<Vec<_>>())
    .execute(db.system_pool())
    .await
    .map(|done| done.rows_affected())
}

/// The stream's last sequence, when it had been rolled back.
pub(super) async fn check(db: &Db, bus: &Bus, spec: &StreamSpec) -> Result<Option<i64>, Trouble> {
    // Read in this order, so that what is published in between does not look lost.
    let highest = store::highest(db, spec).await?;
    let last = bus.last_sequence(spec).await? as i64;
    Ok((unpublish_above(db, spec, last, highest).await? > 0).then_some(last))
}

async fn unpublish_above(
    db: &Db,
    spec: &StreamSpec,
    last: i64,
    highest: i64,
) -> Result<u64, sqlx::Error> {
    if highest <= last {
        return Ok(0);
    }
    let lost = sqlx::query(
        "update outbox set published_at = null
         where stream = $1 and stream_seq > $2 and stream_seq <= $3 and published_at is not null",
    )
    .bind(spec.stream.name())
    .bind(last)
    .bind(highest)
    .execute(db.system_pool())
    .await?
    .rows_affected();
    tell(spec, last, lost);
    Ok(lost)
}

/// The broker gave a new event a sequence that others had: those are lost.
pub(super) async fn unpublish_overtaken(
    tx: &mut SystemTx,
    spec: &StreamSpec,
    from: i64,
    fresh: &[Ack],
) -> Result<(), sqlx::Error> {
    let lost = sqlx::query(
        "update outbox set published_at = null
         where stream = $1 and stream_seq >= $2 and published_at is not null
           and message_id <> all ($3)",
    )
    .bind(spec.stream.name())
    .bind(from)
    .bind(fresh.iter().map(|ack| ack.id.uuid()).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?
    .rows_affected();
    tell(spec, from - 1, lost);
    Ok(())
}

fn tell(spec: &StreamSpec, last: i64, events: u64) {
    if events > 0 {
        let stream = spec.stream.name();
        metrics::counter!("pubsub_republished_total", "stream" => stream).increment(events);
        tracing::warn!(
            stream,
            last,
            events,
            "the stream's store was rolled back; what it lost is published again"
        );
    }
}
