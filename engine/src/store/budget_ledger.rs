//! Budgets as they are drawn on. Across tenants, as one transaction sets aside what a run needs of the platform's and its tenant's.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use dbutil::{Db, SystemTx};
use pubsub::OutboxRow;
use shared_models::events::budget::{BudgetExhausted, BudgetWarned};
use shared_models::{BudgetId, MessageId, RunId, TenantId};
use sqlx::types::Uuid;

use crate::budgets::{Key, Level, Line, Quantity, RunCap, Short};

/// A budget whose row is locked.
pub(crate) struct Locked {
    pub(crate) budget_id: BudgetId,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) level: Level,
    subject: Uuid,
    period: String,
    turns: bool,
    at: DateTime<Utc>,
}

impl Locked {
    /// Whether a new period has begun.
    pub(crate) fn turns(&self) -> bool {
        self.turns
    }
}

/// Locks budgets, always in the same order, and begins the periods anew that are over.
pub(crate) async fn lock(tx: &mut SystemTx, ids: &[Uuid]) -> Result<Vec<Locked>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select budget_id as "budget_id: BudgetId", tenant_id as "tenant: TenantId", level, subject_id, period, now() as "at!",
                  period <> 'total' and period_start < date_trunc(period, now() at time zone 'utc') at time zone 'utc' as "turns!"
           from engine.budget where budget_id = any ($1) order by budget_id for no key update"#,
        ids,
    )
    .fetch_all(&mut **tx)
    .await?;
    let turned: Vec<Uuid> =
        rows.iter().filter(|row| row.turns).map(|row| row.budget_id.uuid()).collect();
    if !turned.is_empty() {
        sqlx::query!(
            "update engine.budget set period_start = date_trunc(period, now() at time zone 'utc') at time zone 'utc'
             where budget_id = any ($1)",
            &turned,
        )
        .execute(&mut **tx)
        .await?;
    }
    Ok(rows
        .into_iter()
        .map(|row| Locked {
            budget_id: row.budget_id,
            tenant: row.tenant,
            // The check constraint keeps anything else out.
            level: row.level.parse().unwrap_or(Level::Tenant),
            subject: row.subject_id,
            period: row.period,
            turns: row.turns,
            at: row.at,
        })
        .collect())
}

/// What calls have taken out of a hold.
pub(crate) struct Spent {
    pub(crate) key: Key,
    pub(crate) hold: Uuid,
    pub(crate) amount: i64,
}

pub(super) fn key(budget: Uuid, quantity: &str) -> Option<Key> {
    Some(Key { budget: budget.into(), quantity: quantity.parse().ok()? })
}

/// Takes what calls have written since the last time.
pub(crate) async fn take_spending(
    tx: &mut SystemTx,
    ids: &[Uuid],
) -> Result<Vec<Spent>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"with taken as (delete from engine.budget_spending where budget_id = any ($1) returning *)
           select budget_id as "budget_id!", quantity as "quantity!", hold_id as "hold_id!", sum(amount)::bigint as "amount!"
           from taken group by 1, 2, 3"#,
        ids,
    )
    .fetch_all(&mut **tx)
    .await?;
    let spent = |row: (Uuid, String, Uuid, i64)| {
        Some(Spent { key: key(row.0, &row.1)?, hold: row.2, amount: row.3 })
    };
    let rows = rows.into_iter().map(|row| (row.budget_id, row.quantity, row.hold_id, row.amount));
    Ok(rows.filter_map(spent).collect())
}

/// The lines of budgets.
pub(crate) async fn lines(tx: &mut SystemTx, ids: &[Uuid]) -> Result<Vec<Line>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select budget_id, quantity, tenant_id as "tenant: TenantId", cap, spent, held, overshoot, warned
           from engine.budget_line where budget_id = any ($1)"#,
        ids,
    )
    .fetch_all(&mut **tx)
    .await?;
    let lines = rows.into_iter().filter_map(|row| {
        Some(Line {
            key: key(row.budget_id, &row.quantity)?,
            tenant: row.tenant,
            cap: row.cap,
            spent: row.spent,
            held: row.held,
            overshoot: row.overshoot,
            warned: row.warned,
        })
    });
    Ok(lines.collect())
}

pub(crate) async fn write_lines(tx: &mut SystemTx, lines: &[&Line]) -> Result<(), sqlx::Error> {
    let budgets: Vec<Uuid> = lines.iter().map(|line| line.key.budget.uuid()).collect();
    let quantities: Vec<&str> = lines.iter().map(|line| line.key.quantity.as_str()).collect();
    let spent: Vec<i64> = lines.iter().map(|line| line.spent).collect();
    let held: Vec<i64> = lines.iter().map(|line| line.held).collect();
    let overshoot: Vec<i64> = lines.iter().map(|line| line.overshoot).collect();
    let warned: Vec<i16> = lines.iter().map(|line| line.warned).collect();
    sqlx::query!(
        "update engine.budget_line l
         set spent = n.spent, held = n.held, overshoot = n.overshoot, warned = n.warned
         from unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::smallint[])
             as n (budget_id, quantity, spent, held, overshoot, warned)
         where l.budget_id = n.budget_id and l.quantity = n.quantity",
        &budgets,
        &quantities as _,
        &spent,
        &held,
        &overshoot,
        &warned,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// The budgets of runs, if they are not there yet.
pub(crate) async fn make_run_budgets(
    tx: &mut SystemTx,
    tenant: TenantId,
    caps: &[&RunCap],
) -> Result<(), sqlx::Error> {
    for cap in caps {
        let (quantities, most): (Vec<_>, Vec<_>) = cap.budget.lines().into_iter().unzip();
        let quantities: Vec<&str> = quantities.into_iter().map(Quantity::as_str).collect();
        sqlx::query!(
            "with made as (
                 insert into engine.budget (budget_id, tenant_id, level, subject_id, path, period)
                 values ($1, $2, 'run', $3, $4, 'total') on conflict (budget_id) do nothing returning budget_id)
             insert into engine.budget_line (budget_id, quantity, tenant_id, cap)
             select m.budget_id, c.quantity, $2, c.cap
             from made m cross join unnest($5::text[], $6::bigint[]) as c (quantity, cap)",
            cap.id() as _,
            tenant as _,
            cap.run as _,
            cap.path,
            &quantities as _,
            &most,
        )
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// Adds what a run is short of. What else it is short of stays: its calls ask each for itself, and the least of what they
/// need is waited for. Whoever wakes the run forgets all of it.
pub(crate) async fn add_waits(
    tx: &mut SystemTx,
    tenant: TenantId,
    run: RunId,
    short: &[Short],
) -> Result<(), sqlx::Error> {
    for Short { budget_id, quantity, need, .. } in short {
        sqlx::query!(
            "insert into engine.budget_wait (run_id, budget_id, quantity, tenant_id, need)
             values ($1, $2, $3, $4, $5)
             on conflict (run_id, budget_id, quantity) do update set need = least(budget_wait.need, excluded.need)",
            run as _,
            *budget_id as BudgetId,
            quantity.as_str(),
            tenant as _,
            need,
        )
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// A run that is short of something.
pub(crate) struct Wait {
    pub(crate) run: RunId,
    pub(crate) tenant: TenantId,
    pub(crate) key: Key,
    pub(crate) need: i64,
}

/// Runs that wake at once; the rest follows as these go on.
const WOKEN: i64 = 64;

/// Who is short of these budgets and could have what it needs, or is short of what is no limit any more; the longest first.
pub(crate) async fn waits(tx: &mut SystemTx, budgets: &[Uuid]) -> Result<Vec<Wait>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select w.run_id as "run: RunId", w.tenant_id as "tenant: TenantId", w.budget_id, w.quantity, w.need
           from engine.budget_wait w
           left join engine.budget_line l on l.budget_id = w.budget_id and l.quantity = w.quantity
           where w.budget_id = any ($1) and (l.cap is null or l.cap - l.spent - l.held >= w.need)
           order by w.since_at, w.run_id limit $2"#,
        budgets,
        WOKEN,
    )
    .fetch_all(&mut **tx)
    .await?;
    let wait = rows.into_iter().filter_map(|row| {
        let key = key(row.budget_id, &row.quantity)?;
        Some(Wait { run: row.run, tenant: row.tenant, key, need: row.need })
    });
    Ok(wait.collect())
}

/// Tells runs that there may be room now. The signal reaches also one that is just about to wait. Nobody is waited for here, as
/// others may be about to wake each other: a wait that somebody else is writing stays, and is told of once more.
pub(crate) async fn wake(
    tx: &mut SystemTx,
    runs: &BTreeMap<RunId, TenantId>,
) -> Result<(), sqlx::Error> {
    if runs.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = runs.keys().map(|run| run.uuid()).collect();
    let tenants: Vec<Uuid> = runs.values().map(|tenant| tenant.uuid()).collect();
    sqlx::query!(
        r#"with told as (
               insert into engine.run_signal (run_id, tenant_id, signal)
               select run_id, tenant_id, '{"signal": "room"}' from unnest($1::uuid[], $2::uuid[]) as t (run_id, tenant_id)
           ), heard as (
               delete from engine.budget_wait w using (
                   select run_id, budget_id, quantity from engine.budget_wait where run_id = any ($1) for update skip locked) h
               where w.run_id = h.run_id and w.budget_id = h.budget_id and w.quantity = h.quantity
           )
           update engine.run set status = 'queued', wait_reason = null, queued_at = now()
           where run_id = any (array(select r.run_id from engine.run r where r.run_id = any ($1) and r.status = 'waiting'
                                     order by r.run_id for update skip locked))"#,
        &ids,
        &tenants,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// A part of a line that is used up.
pub(crate) struct Told<'a> {
    pub(crate) budget: &'a Locked,
    pub(crate) line: &'a Line,
    pub(crate) part: i16,
}

/// Tells of parts that are used up; says whether there is anything in the outbox. The platform's budgets are its operators': they
/// are in the log.
pub(crate) async fn tell(tx: &mut SystemTx, told: &[Told<'_>]) -> Result<bool, sqlx::Error> {
    let mut rows = Vec::new();
    for Told { budget, line, part } in told {
        let quantity = line.key.quantity;
        tracing::warn!(budget.id = %budget.budget_id, level = %budget.level, quantity = quantity.wire(), part, "a budget is being used up");
        metrics::counter!("engine_budget_parts_used_total", "level" => budget.level.as_str(), "percent" => part.to_string())
            .increment(1);
        let Some(tenant) = budget.tenant else { continue };
        let row = event(tenant, budget, line, *part);
        rows.push(row.map_err(|error| sqlx::Error::Encode(error.into()))?.at(budget.at));
    }
    pubsub::insert_rows(tx, &rows).await?;
    Ok(!rows.is_empty())
}

fn event(
    tenant: TenantId,
    budget: &Locked,
    line: &Line,
    part: i16,
) -> Result<OutboxRow, serde_json::Error> {
    let id = (MessageId::mint().uuid(), 0);
    let quantity = line.key.quantity;
    let (level, period) = (budget.level.to_string(), budget.period.clone());
    let (cap, spent) = (quantity.shown(line.cap), quantity.shown(line.spent));
    let (budget_id, subject_id) = (budget.budget_id, budget.subject);
    let run_id = (budget.level == Level::Run).then(|| RunId::from(subject_id));
    let quantity = quantity.wire().to_owned();
    let at = DateTime::UNIX_EPOCH;
    if part >= 100 {
        let event =
            BudgetExhausted { budget_id, level, subject_id, run_id, period, quantity, cap, spent };
        return OutboxRow::new(tenant, id, at, &event);
    }
    let percent = part;
    let event = BudgetWarned {
        budget_id,
        level,
        subject_id,
        run_id,
        period,
        quantity,
        cap,
        spent,
        percent,
    };
    OutboxRow::new(tenant, id, at, &event)
}

/// Budgets that somebody should look at: with something spent that was not added up, holds of workers that are gone, or room for
/// runs that wait. What is left of runs and budgets that are gone goes.
pub(crate) async fn due(db: &Db) -> Result<Vec<BudgetId>, sqlx::Error> {
    sqlx::query!(
        "with ended as (
             delete from engine.budget_wait w using engine.run r where r.run_id = w.run_id and r.finish_reason is not null)
         delete from engine.budget_spending s where not exists (select from engine.budget b where b.budget_id = s.budget_id)"
    )
    .execute(db.system_pool())
    .await?;
    sqlx::query_scalar!(
        r#"(select distinct budget_id as "budget_id!: BudgetId" from engine.budget_spending limit 100)
           union
           (select distinct h.budget_id from engine.budget_hold h
            where not exists (select from engine.worker w where w.worker_id = h.worker_id and w.lease_until > now()) limit 100)
           union
           (select distinct w.budget_id from engine.budget_wait w
            left join engine.budget b on b.budget_id = w.budget_id
            left join engine.budget_line l on l.budget_id = w.budget_id and l.quantity = w.quantity
            where l.cap is null or l.cap - l.spent - l.held >= w.need
               or (b.period <> 'total'
                   and b.period_start < date_trunc(b.period, now() at time zone 'utc') at time zone 'utc') limit 100)"#,
    )
    .fetch_all(db.system_pool())
    .await
}
