//! Publishes firings again of which no run was ever heard.
//!
//! Invariant: a firing that merely waits is left alone, wherever it waits: see [`crate::hearing`]. The engine makes one
//! run of a firing however often it comes.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use pubsub::topology::{ENGINE_TRIGGER_FIRED, EVENTSVC_RUN_LIFECYCLE};
use shared_models::EventId;

use crate::{app::App, store};

/// Firings looked at together.
const PAGE: i64 = 1_000;

/// Publishes lost firings again now; says how many.
pub async fn activate(app: &App) -> anyhow::Result<u64> {
    let minutes = app.limits.unheard_minutes;
    let floor = pubsub::consumer_ack_floor(&app.bus, &ENGINE_TRIGGER_FIRED).await?;
    let at = Instant::now();
    let told = pubsub::last_sequence(&app.bus, EVENTSVC_RUN_LIFECYCLE.stream).await?;
    let wait = Duration::from_secs(u64::from(minutes) * 60);
    app.hearing.note(at, (floor, told), wait);
    let heard = pubsub::consumer_ack_floor(&app.bus, &EVENTSVC_RUN_LIFECYCLE).await?;
    let Some(due) = app.hearing.due(heard, wait) else { return Ok(0) };
    let again = publish_again(app, due as i64, minutes as i32).await?;
    if again > 0 {
        app.relay.ring();
        metrics::counter!("eventsvc_unheard_republished_total").increment(again);
        tracing::warn!(events = again, "firings without a run are published again");
    }
    Ok(again)
}

async fn publish_again(app: &App, due: i64, minutes: i32) -> Result<u64, sqlx::Error> {
    let mut again = 0;
    let mut after: Option<(DateTime<Utc>, EventId)> = None;
    loop {
        let mut tx = app.db.system("unheard firings of all tenants").await?;
        let page = store::unheard::page(&mut tx, minutes, after, PAGE).await?;
        let found = store::unheard::publish_again(&mut tx, &page, due, minutes).await?;
        tx.commit().await?;
        again += found.again;
        // They are in the order of the stream, more or less: behind a page that waits there is only what waits as well.
        let Some(last) = page.last().filter(|_| page.len() as i64 == PAGE) else { break };
        if found.due == 0 && found.waiting > 0 {
            break;
        }
        after = Some((last.fired_at, last.event_id));
    }
    Ok(again)
}
