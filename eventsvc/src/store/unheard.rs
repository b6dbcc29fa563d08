//! Firings the engine was given and never spoke of.

use chrono::{DateTime, Utc};
use dbutil::SystemTx;
use shared_models::EventId;

/// A firing nothing was heard of yet.
#[derive(Clone, Debug)]
pub(crate) struct Unheard {
    pub event_id: EventId,
    pub attempt: i32,
    pub fired_at: DateTime<Utc>,
}

/// What became of a page of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// Published again.
    pub again: u64,
    /// At or below the sequence that should have been heard of.
    pub due: u64,
    /// Above it, or not published yet.
    pub waiting: u64,
}

/// The next firings of which nothing was heard for so many minutes, oldest first.
pub(crate) async fn page(
    tx: &mut SystemTx,
    minutes: i32,
    after: Option<(DateTime<Utc>, EventId)>,
    limit: i64,
) -> Result<Vec<Unheard>, sqlx::Error> {
    let (at, event) = after.unzip();
    sqlx::query_as!(
        Unheard,
        r#"select event_id as "event_id: EventId", attempt, fired_at as "fired_at!"
           from eventsvc.firing
           where status = 'fired' and arrived_at is null and fired_at < now() - make_interval(mins => $1)
             and fired_at >= coalesce($2, '-infinity'::timestamptz)
             and ($2::timestamptz is null or (fired_at, event_id) > ($2, $3::uuid))
           order by fired_at, event_id limit $4"#,
        minutes,
        at,
        event as _,
        limit,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Marks those of the page as unpublished whose sequence is at or below `due`, and notes it in their deliveries' history.
/// Each wait is at least as long as all before it: what the engine cannot take is not sent to it for ever.
pub(crate) async fn publish_again(
    tx: &mut SystemTx,
    page: &[Unheard],
    due: i64,
    minutes: i32,
) -> Result<Found, sqlx::Error> {
    // The message of a firing follows from it, so the outbox needs no index by event.
    let messages: Vec<_> = page
        .iter()
        .map(|firing| pubsub::message_id(firing.event_id.uuid(), firing.attempt).uuid())
        .collect();
    let events: Vec<_> = page.iter().map(|firing| firing.event_id.uuid()).collect();
    let found = sqlx::query_file!("src/store/publish_again.sql", &messages, &events, due, minutes)
        .fetch_one(&mut **tx)
        .await?;
    Ok(Found {
        again: found.again.cast_unsigned(),
        due: found.due.cast_unsigned(),
        waiting: found.waiting.cast_unsigned(),
    })
}
