//! Deliveries, deleted triggers and their sources, forgotten. Rows are found by their age and locked with `skip locked`,
//! so replicas share the work; intake never waits for more than one batch, and then only with a repetition of what goes.

use chrono::{DateTime, Utc};
use dbutil::SystemTx;

/// What a batch did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forgotten {
    /// How many deliveries are forgotten.
    pub deliveries: u64,
    /// How far it looked; none, when there was nothing left to look at.
    pub looked_up_to: Option<DateTime<Utc>>,
}

/// Looks at up to `limit` deliveries older than `days`, from `after` on, and forgets them with what they fired. One that
/// is held stays, and so does one that the engine has yet to take, for as long again: its payload is needed.
pub(crate) async fn forget_deliveries(
    tx: &mut SystemTx,
    days: i32,
    after: Option<DateTime<Utc>>,
    limit: i64,
) -> Result<Forgotten, sqlx::Error> {
    let row = sqlx::query_file!("src/store/forget_deliveries.sql", days, after, limit)
        .fetch_one(&mut **tx)
        .await?;
    Ok(Forgotten {
        deliveries: row.deliveries.cast_unsigned(),
        looked_up_to: row.looked_up_to.filter(|_| row.looked_at == limit),
    })
}

/// Forgets up to `limit` triggers that were deleted more than `days` ago and no delivery tells of any more.
pub(crate) async fn forget_triggers(
    tx: &mut SystemTx,
    days: i32,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    sqlx::query!(
        "delete from eventsvc.trigger where trigger_id = any (array(
             select t.trigger_id from eventsvc.trigger t
             where t.deleted_at < now() - make_interval(days => $1) and t.revoked_at is not null
               and not exists (select from eventsvc.firing f where f.trigger_id = t.trigger_id)
             order by t.deleted_at limit $2 for update of t skip locked))",
        days,
        limit,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected())
}

/// Forgets up to `limit` of what deleted triggers have started: nothing waits for its end any more.
pub(crate) async fn forget_running(tx: &mut SystemTx, limit: i64) -> Result<u64, sqlx::Error> {
    sqlx::query!(
        "delete from eventsvc.flow_running where event_id = any (array(
             select r.event_id from eventsvc.flow_running r
             where not exists (
                 select from eventsvc.trigger t where t.trigger_id = r.trigger_id and t.deleted_at is null)
             limit $1 for update of r skip locked))",
        limit,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected())
}

/// Forgets up to `limit` sources that nothing listens to or tells of any more.
pub(crate) async fn forget_sources(
    tx: &mut SystemTx,
    days: i32,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    sqlx::query!(
        "delete from eventsvc.source where source_id = any (array(
             select s.source_id from eventsvc.source s
             where s.updated_at < now() - make_interval(days => $1)
               and not exists (select from eventsvc.trigger t where t.source_id = s.source_id)
               and not exists (select from eventsvc.delivery d where d.source_id = s.source_id)
             limit $2 for update of s skip locked))",
        days,
        limit,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected())
}
