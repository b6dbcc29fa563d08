//! Systems that a tenant has paused as a whole.

use chrono::{DateTime, Utc};
use dbutil::TenantTx;

/// A pause.
#[derive(Clone, Debug)]
pub(crate) struct Pause {
    pub system: String,
    pub why: Option<String>,
    pub paused_by: String,
    pub paused_at: DateTime<Utc>,
}

/// The pauses of a tenant.
pub(crate) async fn list(tx: &mut TenantTx) -> Result<Vec<Pause>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Pause,
        "select system, why, paused_by, paused_at from eventsvc.system_pause where tenant_id = $1",
        tenant as _,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Pauses a system; one that is paused stays so, for the new reason.
pub(crate) async fn insert(
    tx: &mut TenantTx,
    system: &str,
    why: Option<&str>,
    by: &str,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into eventsvc.system_pause (tenant_id, system, why, paused_by) values ($1, $2, $3, $4)
         on conflict (tenant_id, system) do update set why = excluded.why, paused_by = excluded.paused_by",
        tenant as _,
        system,
        why,
        by,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Ends a pause; says whether there was one. Timers whose slot has waited are due again.
///
/// They are locked first, so that what is asked next sees that a scheduler, which still knew of the pause and whose commit
/// was waited for, has held one back.
pub(crate) async fn delete(tx: &mut TenantTx, system: &str) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    let done = sqlx::query!(
        "delete from eventsvc.system_pause where tenant_id = $1 and system = $2",
        tenant as _,
        system,
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!(
        "select from eventsvc.timer m join eventsvc.trigger t on t.trigger_id = m.trigger_id
         where m.tenant_id = $1 and t.tenant_id = $1 and t.system = $2 and m.ended_at is null
         order by m.trigger_id
         for no key update of m",
        tenant as _,
        system,
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!(
        "update eventsvc.timer m set next_due_at = m.next_slot_at
         from eventsvc.trigger t
         where m.tenant_id = $1 and t.tenant_id = $1 and t.trigger_id = m.trigger_id and t.system = $2
           and t.active and not t.paused and t.deleted_at is null
           and m.next_due_at is null and m.next_slot_at is not null and m.ended_at is null",
        tenant as _,
        system,
    )
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}
