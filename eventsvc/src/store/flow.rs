//! What flow control knows of a trigger.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use dbutil::{SystemTx, TenantTx};
use serde_json::Value;
use shared_models::{EventId, TenantId, TriggerId};
use uuid::Uuid;

/// A trigger's flow control and how far its rate is used up.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub flow: Option<Value>,
    pub busy_until: Option<DateTime<Utc>>,
}

/// Triggers that are not paused and have firings in their queues, after one in the order of their ids.
pub(crate) async fn waiting(
    tx: &mut SystemTx,
    after: Option<TriggerId>,
    limit: i64,
) -> Result<Vec<(TenantId, TriggerId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select t.tenant_id as "tenant: TenantId", t.trigger_id as "trigger: TriggerId"
           from (select distinct f.trigger_id from eventsvc.firing f where f.status = 'queued') q
           join eventsvc.trigger t on t.trigger_id = q.trigger_id
           where not t.paused and ($1::uuid is null or t.trigger_id > $1)
             and not exists (
                 select from eventsvc.system_pause p where p.tenant_id = t.tenant_id and p.system = t.system)
           order by t.trigger_id limit $2"#,
        after as _,
        limit,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.tenant, row.trigger)).collect())
}

/// Locks a trigger's flow; none while another replica is at it.
pub(crate) async fn lock(
    tx: &mut TenantTx,
    trigger: TriggerId,
) -> Result<Option<State>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into eventsvc.trigger_flow (trigger_id, tenant_id, busy_until) values ($1, $2, now())
         on conflict do nothing",
        trigger as _,
        tenant as _,
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query_as!(
        State,
        r#"select t.flow, w.busy_until as "busy_until?"
           from eventsvc.trigger_flow w join eventsvc.trigger t on t.trigger_id = w.trigger_id
           where w.tenant_id = $1 and t.tenant_id = $1 and w.trigger_id = $2
           for update of w skip locked"#,
        tenant as _,
        trigger as _,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// Writes down when the rate is used up no more.
pub(crate) async fn save(
    tx: &mut TenantTx,
    trigger: TriggerId,
    busy_until: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update eventsvc.trigger_flow set busy_until = $3 where tenant_id = $1 and trigger_id = $2",
        tenant as _,
        trigger as _,
        busy_until,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// How many have started and not ended, by key. Those that have ended are forgotten.
pub(crate) async fn running(
    tx: &mut TenantTx,
    trigger: TriggerId,
) -> Result<HashMap<String, u32>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "delete from eventsvc.flow_running r
         where r.tenant_id = $1 and r.trigger_id = $2 and not exists (
             select from eventsvc.firing f
             where f.tenant_id = $1 and f.event_id = r.event_id and f.status = 'fired'
               and (f.run_status is null or f.run_status not in ('succeeded', 'failed', 'cancelled', 'timed_out')))",
        tenant as _,
        trigger as _,
    )
    .execute(&mut **tx)
    .await?;
    let rows = sqlx::query!(
        r#"select key, count(*) as "count!" from eventsvc.flow_running
           where tenant_id = $1 and trigger_id = $2 group by key"#,
        tenant as _,
        trigger as _,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.key, u32::try_from(row.count).unwrap_or(u32::MAX)))
        .collect())
}

/// A trigger is gone, and what it has started keeps nothing waiting any more.
pub(crate) async fn forget(tx: &mut TenantTx, trigger: TriggerId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "delete from eventsvc.flow_running where tenant_id = $1 and trigger_id = $2",
        tenant as _,
        trigger as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// One has started.
pub(crate) async fn started(
    tx: &mut TenantTx,
    trigger: TriggerId,
    event: EventId,
    key: &str,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into eventsvc.flow_running (event_id, tenant_id, trigger_id, key) values ($1, $2, $3, $4)
         on conflict (event_id) do update set since = now()",
        event as _,
        tenant as _,
        trigger as _,
        key,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Which of a trigger's queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Which {
    /// Not those that are known to have one of these keys.
    pub past: Vec<String>,
    /// Only those whose key, which would begin like this, is not known yet.
    pub unkeyed: Option<String>,
    /// Only those with one of these keys.
    pub keys: Option<Vec<String>>,
    /// Only these.
    pub events: Option<Vec<EventId>>,
}

/// Locks the oldest of a trigger's queue; says how many bytes each is.
pub(crate) async fn lock_queued(
    tx: &mut TenantTx,
    trigger: TriggerId,
    which: &Which,
    limit: i64,
) -> Result<Vec<(EventId, i64)>, sqlx::Error> {
    let tenant = tx.tenant();
    let events: Option<Vec<Uuid>> =
        which.events.as_ref().map(|events| events.iter().map(|event| event.uuid()).collect());
    let rows = sqlx::query!(
        r#"select f.event_id as "event: EventId", octet_length(d.body)::int8 as "bytes!"
           from eventsvc.firing f join eventsvc.delivery d on d.delivery_id = f.delivery_id
           where f.tenant_id = $1 and d.tenant_id = $1 and f.trigger_id = $2 and f.status = 'queued'
             and (f.flow_key is null or f.flow_key <> all($4))
             and ($5::text is null or f.flow_key is null or not starts_with(f.flow_key, $5))
             and ($6::text[] is null or f.flow_key = any($6))
             and ($7::uuid[] is null or f.event_id = any($7))
           order by f.event_id limit $3
           for update of f skip locked"#,
        tenant as _,
        trigger as _,
        limit,
        &which.past,
        which.unkeyed,
        which.keys.as_deref(),
        events.as_deref(),
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.event, row.bytes)).collect())
}

/// Writes down what queued firings' keys are told by.
pub(crate) async fn remember_keys(
    tx: &mut TenantTx,
    keys: &[(EventId, String)],
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    let (events, keys): (Vec<Uuid>, Vec<&str>) =
        keys.iter().map(|(event, key)| (event.uuid(), key.as_str())).unzip();
    sqlx::query!(
        "update eventsvc.firing f set flow_key = n.flow_key
         from unnest($2::uuid[], $3::text[]) as n(event_id, flow_key)
         where f.tenant_id = $1 and f.event_id = n.event_id and f.flow_key is distinct from n.flow_key",
        tenant as _,
        &events,
        &keys as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// All that waits of a key.
#[derive(Clone, Debug)]
pub(crate) struct Together {
    pub key: String,
    pub last: EventId,
    pub first_at: DateTime<Utc>,
    pub last_at: DateTime<Utc>,
    pub count: i64,
    pub bytes: i64,
}

/// A trigger's queue by its keys, which begin like this, what came first first; without, all of it is one.
pub(crate) async fn by_key(
    tx: &mut TenantTx,
    trigger: TriggerId,
    begin: Option<&str>,
) -> Result<Vec<Together>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Together,
        r#"select case when $3::text is null then '' else f.flow_key end as "key!",
                  (array_agg(f.event_id order by f.event_id desc))[1] as "last!: EventId",
                  min(d.received_at) as "first_at!", max(d.received_at) as "last_at!", count(*) as "count!",
                  sum(octet_length(d.body)) as "bytes!"
           from eventsvc.firing f join eventsvc.delivery d on d.delivery_id = f.delivery_id
           where f.tenant_id = $1 and d.tenant_id = $1 and f.trigger_id = $2 and f.status = 'queued'
             and ($3 is null or starts_with(f.flow_key, $3))
           group by 1
           order by min(d.received_at)"#,
        tenant as _,
        trigger as _,
        begin,
    )
    .fetch_all(&mut **tx)
    .await
}

/// What came before a firing, of its key, went along with it; without a key, all that waits.
pub(crate) async fn merge_before(
    tx: &mut TenantTx,
    (trigger, lead): (TriggerId, EventId),
    key: Option<&str>,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "with gone as (
             update eventsvc.firing
             set status = 'merged', reason_class = 'flow', reason = $5, merged_into = $3
             where tenant_id = $1 and trigger_id = $2 and status = 'queued' and event_id < $3
               and ($4::text is null or flow_key = $4)
             returning delivery_id
         )
         update eventsvc.delivery d set status = 'merged', reason_class = 'flow', reason = $5
         from gone where d.tenant_id = $1 and d.delivery_id = gone.delivery_id and d.status = 'queued'",
        tenant as _,
        trigger as _,
        lead as _,
        key,
        format!("it went along with {lead}"),
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}
