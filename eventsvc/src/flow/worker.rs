//! Fires what waits, when its turn comes.

use std::{collections::HashMap, sync::atomic::Ordering, time::Duration};

use chrono::{DateTime, Utc};
use dbutil::TenantTx;
use serde_json::Map;
use sha2::{Digest, Sha256};
use shared_models::{EventId, TenantId, TriggerId};
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use super::{
    gather,
    options::Flow,
    plan::{Unit, Waiting, earlier, plan},
};
use crate::{
    app::App,
    error::Error,
    filter::Filter,
    intake::ReasonClass,
    refire::{self, Again},
    store::{
        self,
        firing::Refire,
        flow::{self, Which},
    },
};

/// Triggers looked at in one round.
const TRIGGERS: i64 = 200;
/// Firings of one trigger looked at together.
const QUEUE: i64 = 200;
/// And bytes of what came with them, but for the last.
const QUEUE_BYTES: i64 = 32 * 1024 * 1024;
/// How often a queue is read on behind what waits for its key, before other triggers have their turn.
pub(super) const ROUNDS: usize = 10;
/// How long the worker sleeps at most: an end of a run that another replica heard of is noticed by then.
const POLL: Duration = Duration::from_secs(1);
/// And at least.
const BREATH: Duration = Duration::from_millis(20);

/// Fires what waits until told to stop.
pub(crate) async fn run(app: App, soft: CancellationToken) -> anyhow::Result<()> {
    let mut wait = POLL;
    while !soft.is_cancelled() {
        tokio::select! {
            () = app.flow.ring.notified() => tokio::time::sleep(BREATH).await,
            () = tokio::time::sleep(wait) => {}
            () = soft.cancelled() => return Ok(()),
        }
        wait = match activate(&app).await {
            Ok(again_at) => {
                let until = again_at.map(|at| at - app.clock.now());
                until.map_or(POLL, |until| until.to_std().unwrap_or(BREATH)).clamp(BREATH, POLL)
            }
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "queued firings could not be fired");
                POLL
            }
        };
    }
    Ok(())
}

/// Fires everything whose turn it is now; says when time alone will let more fire.
async fn activate(app: &App) -> anyhow::Result<Option<DateTime<Utc>>> {
    let mut again_at: Option<DateTime<Utc>> = None;
    let mut after = None;
    loop {
        let mut tx = app.db.system("triggers of all tenants with queued firings").await?;
        indexed(&mut tx).await?;
        let due = flow::waiting(&mut tx, after, TRIGGERS).await?;
        tx.commit().await?;
        app.flow.waiting.store(!due.is_empty() || after.is_some(), Ordering::Relaxed);
        for (tenant, trigger) in &due {
            let at = one(app, *tenant, *trigger).await?;
            again_at = [again_at, at].into_iter().flatten().min();
        }
        match due.last() {
            Some((_, last)) if due.len() as i64 == TRIGGERS => after = Some(*last),
            _ => return Ok(again_at),
        }
    }
}

async fn one(
    app: &App,
    tenant: TenantId,
    trigger: TriggerId,
) -> anyhow::Result<Option<DateTime<Utc>>> {
    let mut tx = app.db.begin(tenant).await?;
    indexed(&mut tx).await?;
    let Some(state) = flow::lock(&mut tx, trigger).await? else { return Ok(None) };
    // Without its flow control every one of them is free to go.
    let flow: Flow =
        state.flow.and_then(|flow| serde_json::from_value(flow).ok()).unwrap_or_default();
    let (mut busy_until, mut again_at, mut fired) = (state.busy_until, None, false);
    for _ in 0..ROUNDS {
        let running = flow::running(&mut tx, trigger).await?;
        let (past, now) = (waited_for(&flow, &running), app.clock.now());
        let gathered = flow.debounce_seconds.is_some() || flow.batch.is_some();
        let queue = if gathered {
            let found = gather::complete(&mut tx, &flow, trigger, &past, now).await?;
            if let Some(at) = found.1 {
                earlier(&mut again_at, at);
            }
            found.0
        } else {
            queue(&mut tx, trigger, &Which { past, ..Which::default() }).await?
        };
        let waiting = keyed(&mut tx, &flow, &queue.firings).await?;
        let plan = plan(&flow, &waiting, &running, busy_until, now);
        let by_id: HashMap<EventId, &Refire> =
            queue.firings.iter().map(|one| (one.event_id, one)).collect();
        for unit in &plan.fire {
            fire(&mut tx, &flow, unit, &by_id).await?;
        }
        busy_until = plan.busy_until;
        again_at = [again_at, plan.again_at].into_iter().flatten().min();
        fired |= !plan.fire.is_empty();
        if plan.rate_is_used_up || !(queue.more || gathered && !plan.fire.is_empty()) {
            break;
        }
        if !look_past(&mut tx, &flow, &waiting, trigger).await? && plan.fire.is_empty() {
            break;
        }
    }
    if let Some(until) = busy_until.filter(|until| Some(*until) != state.busy_until) {
        flow::save(&mut tx, trigger, until).await?;
    }
    tx.commit().await?;
    if fired {
        app.relay.ring();
    }
    Ok(again_at)
}

/// What was locked of a trigger's queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// In the order in which they came.
    pub firings: Vec<Refire>,
    /// Whether there may be more.
    pub more: bool,
}

/// Locks the beginning of it: no more than there is room for.
pub(super) async fn queue(
    tx: &mut TenantTx,
    trigger: TriggerId,
    which: &Which,
) -> Result<Queue, sqlx::Error> {
    let locked = flow::lock_queued(tx, trigger, which, QUEUE).await?;
    let mut bytes = 0;
    let fits = |(_, size): &&(EventId, i64)| {
        let room = bytes < QUEUE_BYTES;
        bytes += size;
        room
    };
    let events: Vec<EventId> = locked.iter().take_while(fits).map(|(event, _)| *event).collect();
    let more = locked.len() as i64 == QUEUE || events.len() < locked.len();
    Ok(Queue { firings: store::firing::queued(tx, &events).await?, more })
}

/// What tells the keys that have as many runs as they may.
fn waited_for(flow: &Flow, running: &HashMap<String, u32>) -> Vec<String> {
    let (Some(expression), Some(most)) = (&flow.key, flow.concurrency) else { return Vec::new() };
    let full = running.iter().filter(|(_, count)| **count >= most);
    full.map(|(key, _)| mark(expression, key)).collect()
}

/// Behind a queue's beginning there may be what is free to go: where the beginning waits for keys, what waits for them is
/// written down, so that it is passed over from now on. Says whether there is any.
async fn look_past(
    tx: &mut TenantTx,
    flow: &Flow,
    waiting: &[Waiting],
    trigger: TriggerId,
) -> Result<bool, sqlx::Error> {
    let Some(expression) = &flow.key else { return Ok(false) };
    let past = waited_for(flow, &flow::running(tx, trigger).await?);
    let known = waiting.iter().map(|one| (one.event_id, mark(expression, &one.key)));
    let known: Vec<_> = known.filter(|(_, key)| past.contains(key)).collect();
    flow::remember_keys(tx, &known).await?;
    Ok(!known.is_empty())
}

/// How all keys of an expression begin.
pub(super) fn beginning(expression: &str) -> String {
    format!("{}.", hex::encode(&Sha256::digest(expression)[..4]))
}

/// A key of an expression, short, whatever it is.
pub(super) fn mark(expression: &str, key: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(expression);
    hash.update([0]);
    hash.update(key);
    beginning(expression) + &hex::encode(&hash.finalize()[..16])
}

/// On fast-growing tables the planner would read all of them until statistics catch up.
async fn indexed(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let plan = "set local enable_seqscan = off; set local jit = off";
    sqlx::raw_sql(plan).execute(connection).await.map(drop)
}

/// The queue with each firing's key. One whose key cannot be told, or whose trigger is gone, leaves it here.
pub(super) async fn keyed(
    tx: &mut TenantTx,
    flow: &Flow,
    queue: &[Refire],
) -> Result<Vec<Waiting>, Error> {
    let key = flow.key.as_deref().map(Filter::compile).transpose();
    let mut waiting = Vec::with_capacity(queue.len());
    for firing in queue {
        if let Some(why) = refire::obstacle(firing) {
            let class = if firing.deleted || !firing.active {
                ReasonClass::Inactive
            } else {
                ReasonClass::Route
            };
            store::firing::fail(tx, firing.event_id, class, &why).await?;
            continue;
        }
        let found = match &key {
            Ok(None) => Ok(String::new()),
            Ok(Some(expression)) => {
                let headers = firing.headers.as_object().cloned().unwrap_or_else(Map::new);
                let (payload, size) = (refire::parsed(firing), firing.body.len());
                let seen = refire::seen(tx.tenant(), firing, (payload, size), headers);
                expression.gives(&seen).await.map(|value| value.to_string()).map_err(String::from)
            }
            Err(why) => Err(why.clone()),
        };
        match found {
            Ok(key) => waiting.push(Waiting {
                event_id: firing.event_id,
                key,
                received_at: firing.received_at,
                bytes: firing.body.len(),
            }),
            Err(why) => {
                let why = format!("the key cannot be told: {why}");
                store::firing::fail(tx, firing.event_id, ReasonClass::Flow, &why).await?;
            }
        }
    }
    Ok(waiting)
}

async fn fire(
    tx: &mut TenantTx,
    flow: &Flow,
    unit: &Unit,
    queue: &HashMap<EventId, &Refire>,
) -> Result<(), Error> {
    let Some(lead) = queue.get(&unit.lead) else { return Ok(()) };
    let members = unit.members.iter().filter_map(|id| queue.get(id).copied());
    let together: Vec<Refire> =
        if flow.batch.is_some() { members.cloned().collect() } else { Vec::new() };
    let given = match refire::given(tx.tenant(), &Again { firing: lead, together: &together }).await
    {
        Ok(given) => given,
        Err(why) => {
            for member in &unit.members {
                store::firing::fail(tx, *member, ReasonClass::Input, &why).await?;
            }
            return flurry(tx, flow, lead, &unit.key).await;
        }
    };
    refire::fire(tx, lead, &given, "released", None).await?;
    let others: Vec<EventId> =
        unit.members.iter().copied().filter(|member| *member != unit.lead).collect();
    if !others.is_empty() {
        store::firing::merge(tx, unit.lead, &others).await?;
    }
    if flow.concurrency.is_some() {
        flow::started(tx, lead.trigger_id, unit.lead, &unit.key).await?;
    }
    flurry(tx, flow, lead, &unit.key).await
}

/// Of a flurry only the last goes, however many there are before it.
async fn flurry(tx: &mut TenantTx, flow: &Flow, lead: &Refire, key: &str) -> Result<(), Error> {
    if flow.debounce_seconds.is_some() {
        let key = flow.key.as_deref().map(|expression| mark(expression, key));
        flow::merge_before(tx, (lead.trigger_id, lead.event_id), key.as_deref()).await?;
    }
    Ok(())
}
