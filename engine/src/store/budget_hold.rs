//! What is set aside, as the database has it.

use dbutil::{Db, SystemTx};
use shared_models::{BudgetId, RunId, TenantId, WorkerId};
use sqlx::types::Uuid;

use super::budget_ledger::key;
use crate::budgets::{Held, Key};

/// A hold, and whether it is over: given back, or its worker or epoch is gone.
pub(crate) struct HeldRow {
    pub(crate) held: Held,
    pub(crate) over: bool,
}

/// The holds that these transactions concern: of those spent on, those given back, and those of the dead.
pub(crate) async fn concerned(
    tx: &mut SystemTx,
    ids: &[Uuid],
    (spent, closing): (&[Uuid], &[Uuid]),
    own: Option<(RunId, i32)>,
) -> Result<Vec<HeldRow>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select * from (
               select h.hold_id, h.budget_id, h.quantity, h.amount,
                      h.hold_id = any ($3) or (h.run_id = $4 and h.epoch < $5)
                      or h.worker_id <> all (array(select worker_id from engine.worker where lease_until > now())) as over
               from engine.budget_hold h where h.budget_id = any ($1)) h
           where h.over or h.hold_id = any ($2)"#,
        ids,
        spent,
        closing,
        own.map_or_else(Uuid::nil, |(run, _)| run.uuid()),
        own.map_or(0, |(_, epoch)| epoch),
    )
    .fetch_all(&mut **tx)
    .await?;
    let held = rows.into_iter().filter_map(|row| {
        let key = key(row.budget_id, &row.quantity)?;
        let held = Held { hold: row.hold_id, key, amount: row.amount };
        Some(HeldRow { held, over: row.over.unwrap_or(false) })
    });
    Ok(held.collect())
}

/// Forgets holds that are over, and writes what is left of others.
pub(crate) async fn change(
    tx: &mut SystemTx,
    gone: &[Uuid],
    left: &[Held],
) -> Result<(), sqlx::Error> {
    if !gone.is_empty() {
        sqlx::query!("delete from engine.budget_hold where hold_id = any ($1)", gone)
            .execute(&mut **tx)
            .await?;
    }
    if !left.is_empty() {
        let ids: Vec<Uuid> = left.iter().map(|held| held.hold).collect();
        let amounts: Vec<i64> = left.iter().map(|held| held.amount).collect();
        sqlx::query!(
            "update engine.budget_hold h set amount = l.amount
             from unnest($1::uuid[], $2::bigint[]) as l (hold_id, amount) where h.hold_id = l.hold_id",
            &ids,
            &amounts,
        )
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// A hold to be written.
pub(crate) struct NewHold {
    pub(crate) hold: Uuid,
    pub(crate) key: Key,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) worker: WorkerId,
    /// The run and epoch whose call it is for; none for a slab, and for a call that no run makes.
    pub(crate) own: Option<(RunId, i32)>,
    pub(crate) amount: i64,
}

/// Writes new ones.
pub(crate) async fn insert(tx: &mut SystemTx, holds: &[NewHold]) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = holds.iter().map(|new| new.hold).collect();
    let budgets: Vec<Uuid> = holds.iter().map(|new| new.key.budget.uuid()).collect();
    let quantities: Vec<&str> = holds.iter().map(|new| new.key.quantity.as_str()).collect();
    let tenants: Vec<Option<Uuid>> =
        holds.iter().map(|new| new.tenant.map(TenantId::uuid)).collect();
    let workers: Vec<Uuid> = holds.iter().map(|new| new.worker.uuid()).collect();
    let runs: Vec<Option<Uuid>> =
        holds.iter().map(|new| new.own.map(|(run, _)| run.uuid())).collect();
    let epochs: Vec<Option<i32>> =
        holds.iter().map(|new| new.own.map(|(_, epoch)| epoch)).collect();
    let amounts: Vec<i64> = holds.iter().map(|new| new.amount).collect();
    sqlx::query!(
        "insert into engine.budget_hold (hold_id, budget_id, quantity, tenant_id, worker_id, run_id, epoch, amount)
         select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::uuid[], $6::uuid[], $7::int[], $8::bigint[])",
        &ids,
        &budgets,
        &quantities as _,
        &tenants as _,
        &workers,
        &runs as _,
        &epochs as _,
        &amounts,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// What a worker holds.
pub(crate) async fn held_by(
    db: &Db,
    worker: WorkerId,
) -> Result<Vec<(Uuid, BudgetId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select hold_id, budget_id as "budget_id: BudgetId" from engine.budget_hold where worker_id = $1"#,
        worker as _,
    )
    .fetch_all(db.system_pool())
    .await?;
    Ok(rows.into_iter().map(|row| (row.hold_id, row.budget_id)).collect())
}

/// Budgets that a worker holds something of and that runs are short of.
pub(crate) async fn wanted(db: &Db, worker: WorkerId) -> Result<Vec<BudgetId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select distinct h.budget_id as "budget_id: BudgetId" from engine.budget_hold h
           where h.worker_id = $1 and exists (select from engine.budget_wait w where w.budget_id = h.budget_id)"#,
        worker as _,
    )
    .fetch_all(db.system_pool())
    .await
}
