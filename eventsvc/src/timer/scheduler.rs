//! Fires timers: sleeps until the earliest is due, then fires everything that is, in batches.
//!
//! Several processes may do so at once. Each batch claims its rows and leaves out what others have claimed; deliveries,
//! firings, events and the rows' next slots are one commit. What dies before it has fired nothing, and is claimed again.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use dbutil::{is_refused, within};
use pubsub::OutboxRow;
use shared_models::{DeliveryId, TriggerId};
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use tokio_util::sync::CancellationToken;

use super::batch::{self, Batch};
use crate::{
    app::App,
    clock::Clock,
    stats::Counted,
    store::{group, hook, timer},
};

/// The most timers claimed at once.
const CLAIM: i64 = 500;
/// Between two looks at least so much passes, so that what is due at nearly the same time is fired together.
const BREATH: Duration = Duration::from_millis(20);
/// What takes longer than this was lost on its way to the database.
const LIMIT: Duration = Duration::from_secs(15);
/// After an error.
const PAUSE: Duration = Duration::from_secs(1);

/// Fires timers until told to stop.
pub(crate) async fn run(app: App, soft: CancellationToken) -> anyhow::Result<()> {
    let poll = Duration::from_millis(app.limits.timer_poll_ms.into());
    let mut scheduler = Scheduler::new(&app);
    while !soft.is_cancelled() {
        let wait = match scheduler.fire_due(&app).await {
            Ok(Some(wait)) => wait.clamp(BREATH, poll.max(BREATH)),
            Ok(None) => poll,
            Err(error) => {
                tracing::warn!(%error, "timers could not be fired");
                PAUSE
            }
        };
        tokio::select! {
            // An edit, after which another may be the earliest.
            () = app.timers.notified() => {}
            () = tokio::time::sleep(wait) => {}
            () = soft.cancelled() => {}
        }
    }
    Ok(())
}

/// One task's connection and pace.
#[derive(Debug)]
pub struct Scheduler {
    options: PgConnectOptions,
    open: Option<PgConnection>,
    claim: i64,
    /// The timer that was tried alone.
    alone: Option<TriggerId>,
}

impl Scheduler {
    /// One that has not connected yet.
    pub fn new(app: &App) -> Self {
        let options = PgConnectOptions::clone(&app.db.system_pool().connect_options());
        // The statements are the committer's; what it knows about their plans holds here.
        let options = options.application_name("eventsvc-timers").options([
            ("enable_seqscan", "off"),
            ("jit", "off"),
            ("plan_cache_mode", "force_generic_plan"),
        ]);
        Self { options, open: None, claim: CLAIM, alone: None }
    }

    /// Fires everything that is due by now; says how long it may sleep, as far as the timers are concerned.
    pub async fn fire_due(&mut self, app: &App) -> Result<Option<Duration>, sqlx::Error> {
        let done = self.fire_all_due(app).await;
        if done.is_err() {
            self.open = None;
        }
        done
    }

    async fn fire_all_due(&mut self, app: &App) -> Result<Option<Duration>, sqlx::Error> {
        loop {
            let asked = Clock::host();
            let (due, now) = within(LIMIT, timer::earliest(self.connection().await?)).await?;
            app.clock.learn(asked, now);
            match due {
                None => return Ok(None),
                Some(due) if due > now => {
                    return Ok(Some((due - now).to_std().unwrap_or_default()));
                }
                Some(_) => {}
            }
            if self.batch(app).await? < self.claim {
                return Ok(Some(BREATH));
            }
        }
    }

    /// Fires one batch; says how many timers were claimed.
    async fn batch(&mut self, app: &App) -> Result<i64, sqlx::Error> {
        let started = Instant::now();
        match within(LIMIT, self.try_batch(app)).await {
            Ok(claimed) => {
                if claimed > 0 {
                    metrics::histogram!("eventsvc_timer_batch_seconds").record(started.elapsed());
                }
                let claim = self.claim;
                self.claim = (claim * 2).min(CLAIM);
                // What was claimed may fill a batch that was made smaller.
                Ok(if claimed == claim { self.claim } else { claimed })
            }
            // One row is at fault; alone, it does not come in the way of others.
            Err(error) if is_refused(&error) && self.claim > 1 => {
                self.claim /= 2;
                Ok(self.claim)
            }
            Err(error) if is_refused(&error) => {
                tracing::warn!(%error, "a timer cannot be fired");
                within(LIMIT, self.give_up()).await?;
                Ok(self.claim)
            }
            // Whatever made it so slow or so large is then in a smaller one.
            Err(error) => {
                self.claim = (self.claim / 2).max(1);
                Err(error)
            }
        }
    }

    async fn try_batch(&mut self, app: &App) -> Result<i64, sqlx::Error> {
        let claim = self.claim;
        let mut tx = self.connection().await?.begin().await?;
        let due = timer::claim(&mut tx, claim).await?;
        let alone = (claim == 1).then(|| due.first().map(|due| due.trigger_id)).flatten();
        let Some(now) = due.first().map(|due| due.now) else { return Ok(0) };
        // Read only now: a save that these rows have waited for is seen, and one that comes waits for them.
        let ids: Vec<_> = due.iter().map(|due| due.trigger_id.uuid()).collect();
        let tenants: HashSet<_> = due.iter().map(|due| due.tenant_id.uuid()).collect();
        let tenants: Vec<_> = tenants.into_iter().collect();
        let triggers = hook::of_triggers(&mut tx, &tenants, &ids).await?;
        let mut batch = Batch::of(&due, triggers).await;
        let stored = match write(&mut tx, &batch).await {
            Ok(stored) => stored,
            Err(error) => {
                tx.rollback().await?;
                self.alone = alone;
                return Err(error);
            }
        };
        tx.commit().await?;
        publish(app, &mut batch, &stored, now);
        Ok(due.len() as i64)
    }

    /// Stops the timer that cannot be fired even alone, unless it has changed hands.
    async fn give_up(&mut self) -> Result<(), sqlx::Error> {
        let alone = self.alone.take();
        let mut tx = self.connection().await?.begin().await?;
        let claimed = timer::claim(&mut tx, 1).await?;
        let claimed = claimed.iter().filter(|due| Some(due.trigger_id) == alone);
        let moved: Vec<_> = claimed.map(|due| batch::failed(due.trigger_id)).collect();
        timer::advance(&mut tx, &moved).await?;
        tx.commit().await
    }

    async fn connection(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        let open = match self.open.take() {
            Some(open) => open,
            None => within(LIMIT, PgConnection::connect_with(&self.options)).await?,
        };
        Ok(self.open.insert(open))
    }
}

/// Everything a batch writes; says which deliveries are new, which they all should be.
async fn write(tx: &mut PgConnection, batch: &Batch) -> Result<HashSet<DeliveryId>, sqlx::Error> {
    let rows: Vec<_> = batch.received.iter().collect();
    let mut new = HashSet::new();
    if !rows.is_empty() {
        new = group::insert(&mut *tx, &rows).await?.new;
    }
    timer::advance(tx, &batch.moved).await?;
    Ok(new)
}

/// Counts what was stored, and hands its events to the relay.
fn publish(app: &App, batch: &mut Batch, stored: &HashSet<DeliveryId>, now: DateTime<Utc>) {
    let mut events: Vec<OutboxRow> = Vec::new();
    for received in &mut batch.received {
        if !stored.contains(&received.delivery_id) {
            continue;
        }
        for firing in &mut received.firings {
            let what = Counted::Stored(firing.verdict.status());
            app.stats.count(received.tenant_id, firing.trigger_id, what, now);
            events.extend(firing.outbox.take());
        }
    }
    if !events.is_empty() {
        app.relay.take(events);
    }
}
