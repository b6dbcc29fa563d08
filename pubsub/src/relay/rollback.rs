//! A broker acknowledges before its disk does, and its store can be restored from a copy: what it had acknowledged may be
//! gone. And a stream keeps nothing for ever: what nobody has heard when its time is up is gone as well. Published rows
//! are kept until they are acknowledged, and for a day, so that they can be published again; hearers drop what they had
//! already. What merely waits in the stream is never touched.

use dbutil::{Db, SystemTx};
use shared_models::MessageId;

use super::{Trouble, publish::Ack, store};
use crate::{
    Bus,
    topology::{StreamSpec, stream_of},
};

/// Marks everything the broker no longer has, although somebody has yet to hear it, as unpublished; says how many rows.
/// Noticed by a last sequence below one that was given out, or a first sequence above what was acknowledged.
pub async fn republish_lost(db: &Db, bus: &Bus) -> anyhow::Result<u64> {
    let lost = look(db, bus, stream_of(bus.service())).await?;
    Ok(lost.rolled_back + lost.dropped)
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

/// What was found to be lost, and is unpublished now.
#[derive(Debug)]
pub(super) struct Lost {
    /// The stream's last sequence.
    pub(super) last: i64,
    /// Rows above it.
    pub(super) rolled_back: u64,
    /// Rows the stream let go before they were heard.
    pub(super) dropped: u64,
}

pub(super) async fn look(db: &Db, bus: &Bus, spec: &StreamSpec) -> Result<Lost, Trouble> {
    // Read in this order, so that neither what is published nor what is acknowledged in between looks lost.
    let highest = store::highest(db, spec).await?;
    let (first, last) = bus.sequences(spec.stream).await?;
    let (first, last) = (first as i64, last as i64);
    let heard = bus.heard_up_to(spec).await?;
    Ok(Lost {
        last,
        rolled_back: unpublish_above(db, spec, last, highest).await?,
        dropped: unpublish_dropped(db, spec, heard, first).await?,
    })
}

/// What is below the stream's first sequence and above what was heard will never be delivered.
async fn unpublish_dropped(
    db: &Db,
    spec: &StreamSpec,
    heard: i64,
    first: i64,
) -> Result<u64, sqlx::Error> {
    if first.saturating_sub(1) <= heard {
        return Ok(0);
    }
    let events = sqlx::query(
        "update outbox set published_at = null
         where message_id = any (array(
             select message_id from outbox
             where stream = $1 and stream_seq > $2 and stream_seq < $3 and published_at is not null
             order by stream_seq limit 10000))",
    )
    .bind(spec.stream.name())
    .bind(heard)
    .bind(first)
    .execute(db.system_pool())
    .await?
    .rows_affected();
    if events > 0 {
        let stream = spec.stream.name();
        metrics::counter!("pubsub_republished_total", "stream" => stream).increment(events);
        tracing::warn!(
            stream,
            first,
            events,
            "the stream let go what was not heard yet; it is published again"
        );
    }
    Ok(events)
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
