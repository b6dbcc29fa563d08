//! Timers: one row each, advanced by whoever fires them.

use chrono::{DateTime, Utc};
use dbutil::TenantTx;
use shared_models::{TenantId, TriggerId};
use sqlx::PgConnection;

/// Where a timer stands.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub anchor_at: DateTime<Utc>,
    pub next_slot_at: Option<DateTime<Utc>>,
    pub next_due_at: Option<DateTime<Utc>>,
    pub last_slot_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    pub end_reason: Option<String>,
}

/// The standing of a timer, if it has been saved before, locked against whoever fires it; and the time.
pub(crate) async fn lock(
    tx: &mut TenantTx,
    id: TriggerId,
) -> Result<(Option<Standing>, DateTime<Utc>), sqlx::Error> {
    let tenant = tx.tenant();
    let standing = sqlx::query_as!(
        Standing,
        "select anchor_at, next_slot_at, next_due_at, last_slot_at, ended_at, end_reason
         from eventsvc.timer where tenant_id = $1 and trigger_id = $2 for update",
        tenant as _,
        id as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    let now = sqlx::query_scalar!(r#"select eventsvc.db_now() as "now!""#);
    Ok((standing, now.fetch_one(&mut **tx).await?))
}

/// Writes a standing down.
pub(crate) async fn save(
    tx: &mut TenantTx,
    id: TriggerId,
    standing: &Standing,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into eventsvc.timer (trigger_id, tenant_id, anchor_at, next_slot_at, next_due_at, last_slot_at,
             ended_at, end_reason)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (trigger_id) do update
         set anchor_at = excluded.anchor_at, next_slot_at = excluded.next_slot_at, next_due_at = excluded.next_due_at,
             ended_at = excluded.ended_at, end_reason = excluded.end_reason",
        id as _,
        tenant as _,
        standing.anchor_at,
        standing.next_slot_at,
        standing.next_due_at,
        standing.last_slot_at,
        standing.ended_at,
        standing.end_reason,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Stops a timer for good.
pub(crate) async fn delete(tx: &mut TenantTx, id: TriggerId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "delete from eventsvc.timer where tenant_id = $1 and trigger_id = $2",
        tenant as _,
        id as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// When the earliest timer of all tenants is due, if any; and the time.
pub(crate) async fn earliest(
    system: &mut PgConnection,
) -> Result<(Option<DateTime<Utc>>, DateTime<Utc>), sqlx::Error> {
    let row = sqlx::query_file!("src/store/timer_earliest.sql").fetch_one(system).await?;
    Ok((row.due, row.now))
}

/// A timer whose time has come, locked.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub tenant_id: TenantId,
    pub trigger_id: TriggerId,
    pub anchor_at: DateTime<Utc>,
    pub next_slot_at: DateTime<Utc>,
    pub now: DateTime<Utc>,
}

/// Claims the timers of all tenants that have been due longest, leaving out what others have claimed.
pub(crate) async fn claim(system: &mut PgConnection, limit: i64) -> Result<Vec<Due>, sqlx::Error> {
    sqlx::query_file_as!(Due, "src/store/timer_claim.sql", limit).fetch_all(system).await
}

/// What has become of a timer that was claimed.
#[derive(Clone, Debug)]
pub(crate) struct Advance {
    pub trigger_id: TriggerId,
    pub next_slot_at: Option<DateTime<Utc>>,
    pub next_due_at: Option<DateTime<Utc>>,
    /// The last slot that fired now.
    pub fired_slot_at: Option<DateTime<Utc>>,
    pub missed: i64,
    /// Why no slot will come any more.
    pub end_reason: Option<String>,
}

/// Moves timers on to their next slots.
pub(crate) async fn advance(
    system: &mut PgConnection,
    moved: &[Advance],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update eventsvc.timer t
         set next_slot_at = n.next_slot_at, next_due_at = n.next_due_at,
             last_slot_at = coalesce(n.fired_slot_at, t.last_slot_at),
             last_fired_at = case when n.fired_slot_at is null then t.last_fired_at else eventsvc.db_now() end,
             missed = t.missed + n.missed,
             last_missed_at = case when n.missed = 0 then t.last_missed_at else eventsvc.db_now() end,
             ended_at = case when n.end_reason is null then null else eventsvc.db_now() end,
             end_reason = n.end_reason
         from unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], $5::int8[], $6::text[])
              as n(trigger_id, next_slot_at, next_due_at, fired_slot_at, missed, end_reason)
         where t.trigger_id = n.trigger_id",
        &moved.iter().map(|one| one.trigger_id.uuid()).collect::<Vec<_>>(),
        &moved.iter().map(|one| one.next_slot_at).collect::<Vec<_>>() as _,
        &moved.iter().map(|one| one.next_due_at).collect::<Vec<_>>() as _,
        &moved.iter().map(|one| one.fired_slot_at).collect::<Vec<_>>() as _,
        &moved.iter().map(|one| one.missed).collect::<Vec<_>>(),
        &moved.iter().map(|one| one.end_reason.clone()).collect::<Vec<_>>() as _,
    )
    .execute(system)
    .await
    .map(drop)
}
