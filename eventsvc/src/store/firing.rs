//! Firings: each trigger's answer to a delivery, and the run it led to.

use chrono::{DateTime, Utc};
use dbutil::{SystemTx, TenantTx};
use serde_json::Value;
use shared_models::{DeliveryId, EventId, RunId, TenantId, TriggerId, UserId};
use uuid::Uuid;

use super::delivery::Narrow;
use crate::{intake::ReasonClass, viewer::Viewer};

/// A firing as stored.
#[derive(Clone, Debug)]
pub(crate) struct Firing {
    pub event_id: EventId,
    pub delivery_id: DeliveryId,
    pub trigger_id: TriggerId,
    pub attempt: i32,
    pub status: String,
    pub reason_class: Option<String>,
    pub reason: Option<String>,
    pub fired_at: Option<DateTime<Utc>>,
    pub run_id: Option<RunId>,
    pub run_status: Option<String>,
}

/// The firings of some deliveries whose triggers the caller sees.
pub(crate) async fn of_deliveries(
    tx: &mut TenantTx,
    viewer: &Viewer,
    deliveries: &[DeliveryId],
) -> Result<Vec<Firing>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Firing,
        r#"select f.event_id as "event_id: EventId", f.delivery_id as "delivery_id: DeliveryId",
                  f.trigger_id as "trigger_id: TriggerId", f.attempt, f.status, f.reason_class, f.reason, f.fired_at,
                  f.run_id as "run_id: RunId", f.run_status
           from eventsvc.firing f
           join eventsvc.trigger t on t.trigger_id = f.trigger_id
           where f.tenant_id = $1 and t.tenant_id = $1 and f.delivery_id = any($2)
             and ($3 or t.owner_id = $4 or (t.scope = 'team' and t.team_id = any($5)))
           order by f.event_id"#,
        tenant as _,
        &deliveries.iter().map(|id| id.uuid()).collect::<Vec<_>>(),
        viewer.admin,
        viewer.user as _,
        &viewer.teams,
    )
    .fetch_all(&mut **tx)
    .await
}

/// A firing with all that an event needs, locked against being fired twice at once.
#[derive(Clone, Debug)]
pub(crate) struct Refire {
    pub event_id: EventId,
    pub delivery_id: DeliveryId,
    pub trigger_id: TriggerId,
    pub attempt: i32,
    pub status: String,
    pub reason_class: Option<String>,
    pub run_id: Option<RunId>,
    pub run_status: Option<String>,
    pub system: String,
    pub target_kind: String,
    pub target_id: Option<Uuid>,
    pub owner_id: UserId,
    pub input: Option<Value>,
    pub flow: Option<Value>,
    pub active: bool,
    pub deleted: bool,
    pub dedupe_key: Option<String>,
    pub content_type: Option<String>,
    pub headers: Value,
    pub body: Vec<u8>,
    pub occurred_at: DateTime<Utc>,
    pub received_at: DateTime<Utc>,
    pub now: DateTime<Utc>,
}

impl Refire {
    /// Whether a list that is narrowed like this is about it.
    pub(crate) fn fits(&self, narrow: &Narrow) -> bool {
        narrow.trigger.is_none_or(|trigger| trigger == self.trigger_id)
            && narrow.status.as_ref().is_none_or(|status| *status == self.status)
            && (narrow.reason.is_none() || narrow.reason == self.reason_class)
            && !(narrow.without_run && self.run_id.is_some())
    }
}

/// Firings of the tenant's (`$1`), as `f`, with their trigger `t` and their delivery `d`.
macro_rules! refires {
    ($and:tt, $($argument:expr),* $(,)?) => {
        sqlx::query_as!(
            Refire,
            r#"select f.event_id as "event_id: EventId", f.delivery_id as "delivery_id: DeliveryId",
                  f.trigger_id as "trigger_id: TriggerId", f.attempt, f.status, f.reason_class,
                  f.run_id as "run_id: RunId", f.run_status, t.system, t.target_kind, t.target_id,
                  t.owner_id as "owner_id: UserId", t.input, t.flow, t.active, t.deleted_at is not null as "deleted!",
                  d.dedupe_key, d.content_type, d.headers, d.body, d.occurred_at, d.received_at, now() as "now!"
           from eventsvc.firing f
           join eventsvc.trigger t on t.trigger_id = f.trigger_id
           join eventsvc.delivery d on d.delivery_id = f.delivery_id
           where f.tenant_id = $1 and t.tenant_id = $1 and d.tenant_id = $1"# + $and,
            $($argument),*
        )
    };
}

/// Locks the firings of a delivery whose triggers the caller sees.
pub(crate) async fn lock_of_delivery(
    tx: &mut TenantTx,
    viewer: &Viewer,
    delivery: DeliveryId,
) -> Result<Vec<Refire>, sqlx::Error> {
    let tenant = tx.tenant();
    refires!(
        r#" and f.delivery_id = $2
             and ($3 or t.owner_id = $4 or (t.scope = 'team' and t.team_id = any($5)))
           order by f.event_id
           for update of f"#,
        tenant as _,
        delivery as _,
        viewer.admin,
        viewer.user as _,
        &viewer.teams,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Locks one firing that is held although its trigger is no longer paused; none when another replica was faster.
pub(crate) async fn lock_held(
    tx: &mut TenantTx,
    event: EventId,
) -> Result<Option<Refire>, sqlx::Error> {
    let tenant = tx.tenant();
    refires!(
        r#" and f.event_id = $2 and f.status = 'held'
             and not t.paused
             and not exists (
                 select from eventsvc.system_pause p where p.tenant_id = t.tenant_id and p.system = t.system)
           for update of f skip locked"#,
        tenant as _,
        event as _,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// Firings in a queue, which the caller has locked, in the order in which they came.
pub(crate) async fn queued(
    tx: &mut TenantTx,
    events: &[EventId],
) -> Result<Vec<Refire>, sqlx::Error> {
    let tenant = tx.tenant();
    refires!(
        r#" and f.event_id = any($2) and f.status = 'queued' order by f.event_id"#,
        tenant as _,
        &events.iter().map(|event| event.uuid()).collect::<Vec<_>>(),
    )
    .fetch_all(&mut **tx)
    .await
}

/// All that went along with a firing, itself included, in the order in which it came.
pub(crate) async fn together(tx: &mut TenantTx, lead: EventId) -> Result<Vec<Refire>, sqlx::Error> {
    let tenant = tx.tenant();
    refires!(
        r#"
             and f.event_id in (
                 select $2::uuid union all
                 select m.event_id from eventsvc.firing m
                 where m.tenant_id = $1 and m.merged_into = $2 and m.status = 'merged')
           order by f.event_id"#,
        tenant as _,
        lead as _,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Held firings whose trigger is no longer paused, oldest first.
pub(crate) async fn releasable(
    tx: &mut SystemTx,
    limit: i64,
) -> Result<Vec<(TenantId, EventId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select f.tenant_id as "tenant: TenantId", f.event_id as "event: EventId"
           from eventsvc.firing f join eventsvc.trigger t on t.trigger_id = f.trigger_id
           where f.status = 'held' and not t.paused
             and not exists (
                 select from eventsvc.system_pause p where p.tenant_id = t.tenant_id and p.system = t.system)
           order by f.event_id limit $1"#,
        limit,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.tenant, row.event)).collect())
}

/// A firing fires, at this attempt.
pub(crate) async fn fire(
    tx: &mut TenantTx,
    event: EventId,
    attempt: i32,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update eventsvc.firing
         set attempt = $3, status = 'fired', reason_class = null, reason = null, fired_at = now(),
             run_id = null, run_status = null, arrived_at = null, heard_at = null
         where tenant_id = $1 and event_id = $2",
        tenant as _,
        event as _,
        attempt,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// A held firing will never fire.
pub(crate) async fn skip(tx: &mut TenantTx, event: EventId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update eventsvc.firing set status = 'skipped', reason_class = 'inactive', reason = 'the trigger is not active'
         where tenant_id = $1 and event_id = $2",
        tenant as _,
        event as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// A held firing waits for its turn.
pub(crate) async fn queue(tx: &mut TenantTx, event: EventId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update eventsvc.firing set status = 'queued', reason_class = 'flow', reason = 'it waits for its turn'
         where tenant_id = $1 and event_id = $2",
        tenant as _,
        event as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// A firing that waited cannot fire, and why. Its trigger has it among what fired, and counts it among what failed too.
pub(crate) async fn fail(
    tx: &mut TenantTx,
    event: EventId,
    class: ReasonClass,
    why: &str,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "with failed as (
             update eventsvc.firing set status = 'failed', reason_class = $3, reason = $4
             where tenant_id = $1 and event_id = $2
             returning delivery_id, trigger_id
         ), counted as (
             insert into eventsvc.trigger_stat as s (trigger_id, tenant_id, failed_later)
             select failed.trigger_id, $1, 1 from failed
             on conflict (trigger_id) do update set failed_later = s.failed_later + 1
         )
         update eventsvc.delivery d set status = 'failed', reason_class = $3, reason = $4
         from failed where d.tenant_id = $1 and d.delivery_id = failed.delivery_id and d.status in ('queued', 'held')",
        tenant as _,
        event as _,
        class.as_str(),
        why,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Firings went along with another.
pub(crate) async fn merge(
    tx: &mut TenantTx,
    lead: EventId,
    others: &[EventId],
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "with gone as (
             update eventsvc.firing
             set status = 'merged', reason_class = 'flow', reason = $4, merged_into = $2
             where tenant_id = $1 and event_id = any($3)
             returning delivery_id
         )
         update eventsvc.delivery d set status = 'merged', reason_class = 'flow', reason = $4
         from gone where d.tenant_id = $1 and d.delivery_id = gone.delivery_id and d.status = 'queued'",
        tenant as _,
        lead as _,
        &others.iter().map(|id| id.uuid()).collect::<Vec<_>>(),
        format!("it went along with {lead}"),
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// A firing, and what had led to it.
#[derive(Clone, Debug)]
pub(crate) struct Cause {
    pub event_id: EventId,
    pub trigger_id: TriggerId,
    /// The triggers behind it, earliest first, where it came of a run.
    pub causes: Option<Value>,
}

/// What led to these firings.
pub(crate) async fn causes(
    tx: &mut SystemTx,
    tenants: &[Uuid],
    events: &[Uuid],
) -> Result<Vec<Cause>, sqlx::Error> {
    sqlx::query_as!(
        Cause,
        r#"select f.event_id as "event_id: EventId", f.trigger_id as "trigger_id: TriggerId",
                  d.headers->'causes' as "causes?"
           from eventsvc.firing f join eventsvc.delivery d on d.delivery_id = f.delivery_id
           where f.tenant_id = any($1) and f.event_id = any($2)"#,
        tenants,
        events,
    )
    .fetch_all(&mut **tx)
    .await
}

/// How the latest attempt of a firing ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub run_id: Option<RunId>,
    /// None when there was no run at all.
    pub run_status: Option<String>,
    pub reason: Option<String>,
}

/// The end of a firing: of its run, or before there was one; none while it goes on.
pub(crate) async fn end(tx: &mut TenantTx, event: EventId) -> Result<Option<End>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        End,
        r#"select run_id as "run_id: RunId", run_status, reason from eventsvc.firing
           where tenant_id = $1 and event_id = $2
             and (status = 'failed' or run_status in ('succeeded', 'failed', 'cancelled', 'timed_out'))"#,
        tenant as _,
        event as _,
    )
    .fetch_optional(&mut **tx)
    .await
}
