//! What flow control knows of a trigger.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use dbutil::{SystemTx, TenantTx};
use serde_json::Value;
use shared_models::{EventId, TenantId, TriggerId};

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
