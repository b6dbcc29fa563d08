//! Counters of triggers.

use dbutil::SystemTx;

use crate::stats::Counts;

/// Adds what was counted since the last time.
pub(crate) async fn add(tx: &mut SystemTx, counted: &[Counts]) -> Result<(), sqlx::Error> {
    let column = |of: fn(&Counts) -> i64| counted.iter().map(of).collect::<Vec<i64>>();
    sqlx::query!(
        "insert into eventsvc.trigger_stat as s (trigger_id, tenant_id, fired, filtered, skipped, failed, duplicate,
             refused, last_delivery_at, last_refused_at, failed_later)
         select n.trigger_id, n.tenant_id, n.fired, n.filtered, n.skipped, n.failed, n.duplicate, n.refused,
                n.last_delivery_at, n.last_refused_at, n.failed_later
         from unnest($1::uuid[], $2::uuid[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], $8::int8[],
                     $9::timestamptz[], $10::timestamptz[], $11::int8[])
              as n(trigger_id, tenant_id, fired, filtered, skipped, failed, duplicate, refused, last_delivery_at,
                   last_refused_at, failed_later)
         join eventsvc.trigger t on t.trigger_id = n.trigger_id
         order by n.trigger_id
         on conflict (trigger_id) do update
         set fired = s.fired + excluded.fired, filtered = s.filtered + excluded.filtered,
             skipped = s.skipped + excluded.skipped, failed = s.failed + excluded.failed,
             failed_later = s.failed_later + excluded.failed_later,
             duplicate = s.duplicate + excluded.duplicate, refused = s.refused + excluded.refused,
             last_delivery_at = greatest(s.last_delivery_at, excluded.last_delivery_at),
             last_refused_at = greatest(s.last_refused_at, excluded.last_refused_at)",
        &counted.iter().map(|c| c.trigger_id.uuid()).collect::<Vec<_>>(),
        &counted.iter().map(|c| c.tenant_id.uuid()).collect::<Vec<_>>(),
        &column(|c| c.fired),
        &column(|c| c.filtered),
        &column(|c| c.skipped),
        &column(|c| c.failed),
        &column(|c| c.duplicate),
        &column(|c| c.refused),
        &counted.iter().map(|c| c.last_delivery_at).collect::<Vec<_>>() as _,
        &counted.iter().map(|c| c.last_refused_at).collect::<Vec<_>>() as _,
        &column(|c| c.failed_later),
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}
