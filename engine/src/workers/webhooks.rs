//! Sends what endpoints shall be told. Any number of processes do it beside each other; what one had taken when it died is
//! due again by itself.

use std::collections::HashMap;

use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use shared_models::WebhookEndpointId;
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

use crate::app::App;
use crate::store::webhook_delivery::{self, Due};
use crate::webhooks::{AT_ONCE, Attempt, PER_ENDPOINT, Sent, after, attempt};

/// What this process has under way.
type Busy = HashMap<WebhookEndpointId, i64>;

/// Works until the process stops; attempts under way are finished.
pub(crate) async fn run(app: App) -> anyhow::Result<()> {
    let mut looks = interval(app.runs.sweep);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut flights, mut busy) = (FuturesUnordered::new(), Busy::new());
    // Whether the last look found something: there may be more.
    let mut more = false;
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = app.webhooks.due.notified() => {}
            Some(landed) = flights.next() => {
                land(&mut busy, landed);
                while let Some(Some(landed)) = flights.next().now_or_never() {
                    land(&mut busy, landed);
                }
                if !more { continue }
            }
            () = app.draining.cancelled() => break,
        }
        let taken = take(&app, &busy, AT_ONCE.saturating_sub(flights.len())).await;
        let taken = taken.unwrap_or_else(|error| {
            tracing::warn!(%error, "webhooks that are due cannot be read now");
            Vec::new()
        });
        more = !taken.is_empty();
        for due in taken {
            *busy.entry(due.endpoint_id).or_default() += 1;
            flights.push(fly(app.clone(), due));
        }
    }
    while flights.next().await.is_some() {}
    Ok(())
}

fn land(busy: &mut Busy, endpoint: WebhookEndpointId) {
    if let Some(n) = busy.get_mut(&endpoint) {
        *n -= 1;
    }
    busy.retain(|_, n| *n > 0);
}

async fn take(app: &App, busy: &Busy, room: usize) -> Result<Vec<Due>, sqlx::Error> {
    if room == 0 {
        return Ok(Vec::new());
    }
    let (ids, counts): (Vec<Uuid>, Vec<i64>) = busy.iter().map(|(id, n)| (id.uuid(), *n)).unzip();
    let mut tx = app.db.system("send webhooks of all tenants").await?;
    let (bounds, lease) = ((PER_ENDPOINT, room as i64), app.webhooks.config.lease());
    let taken = webhook_delivery::claim(&mut tx, (&ids, &counts), bounds, lease).await?;
    tx.commit().await?;
    Ok(taken)
}

async fn fly(app: App, due: Due) -> WebhookEndpointId {
    // Beyond the lease it may be somebody else's.
    let limit = app.webhooks.config.lease();
    let attempt = tokio::time::timeout(limit, attempt(&app, &due)).await.unwrap_or_else(|_| {
        Attempt { sent: Sent::Untried("it took too long to begin".into()), took: limit }
    });
    if let Err(error) = write_down(&app, &due, &attempt).await {
        tracing::warn!(%error, endpoint.id = %due.endpoint_id, "what a webhook came to is lost; it is sent again");
    }
    due.endpoint_id
}

async fn write_down(app: &App, due: &Due, attempt: &Attempt) -> Result<(), sqlx::Error> {
    let config = &app.webhooks.config;
    let tries = usize::try_from(due.tries).unwrap_or(usize::MAX);
    let after = after(config, tries, &attempt.sent, rand::random());
    metrics::counter!("engine_webhook_attempts_total", "outcome" => after.word()).increment(1);
    let mut tx = app.db.begin(due.tenant_id).await?;
    // The endpoint first, as whoever edits one does.
    let disabled =
        webhook_delivery::judge(&mut tx, due.endpoint_id, after, config.patience).await?;
    webhook_delivery::note(&mut tx, due, attempt, after).await?;
    if let Some(reason) = &disabled {
        webhook_delivery::skip(&mut tx, due.endpoint_id, reason).await?;
        tracing::warn!(endpoint.id = %due.endpoint_id, reason, "an endpoint of webhooks is disabled");
    }
    tx.commit().await
}
