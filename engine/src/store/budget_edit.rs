//! Budgets as people change them.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use dbutil::{OnConstraint as _, SystemTx};
use shared_models::{BudgetId, RunId, TenantId, UserId};
use sqlx::PgConnection;
use sqlx::types::Uuid;

use super::budget::{self, Owner, Row};
use crate::budgets::{Changed, Level, Open, Period, Quantity, Rouse};
use crate::definition::Budget;
use crate::error::Error;
use crate::store::signal::Signal;

/// A budget to be made.
pub(crate) struct New {
    pub(crate) level: Level,
    pub(crate) subject: Uuid,
    pub(crate) period: Period,
    pub(crate) limits: Budget,
}

/// Adds a budget; there must be none yet of the same subject and period.
pub(crate) async fn insert(
    tx: &mut PgConnection,
    owner: Owner,
    by: UserId,
    new: &New,
) -> Result<BudgetId, Error> {
    let id = BudgetId::mint();
    sqlx::query!(
        "insert into engine.budget (budget_id, tenant_id, level, subject_id, period, created_by) values ($1, $2, $3, $4, $5, $6)",
        id as _,
        owner as Option<TenantId>,
        new.level.as_str(),
        new.subject,
        new.period.as_str(),
        by as _,
    )
    .execute(&mut *tx)
    .await
    .on_constraint("budget_subject_key", || Error::BudgetTaken)?;
    set_lines(tx, owner, id, &new.limits).await?;
    Ok(id)
}

/// Sets the limits of a budget; what has been counted of those that stay is kept.
async fn set_lines(
    tx: &mut PgConnection,
    owner: Owner,
    id: BudgetId,
    limits: &Budget,
) -> Result<(), sqlx::Error> {
    let (quantities, caps): (Vec<_>, Vec<_>) = limits.lines().into_iter().unzip();
    let quantities: Vec<&str> = quantities.into_iter().map(Quantity::as_str).collect();
    sqlx::query!(
        "delete from engine.budget_line where budget_id = $1 and quantity <> all ($2::text[])",
        id as _,
        &quantities as _,
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "insert into engine.budget_line (budget_id, quantity, tenant_id, cap)
         select $1, quantity, $2, cap from unnest($3::text[], $4::bigint[]) as l (quantity, cap)
         on conflict (budget_id, quantity) do update set cap = excluded.cap",
        id as _,
        owner as Option<TenantId>,
        &quantities as _,
        &caps,
    )
    .execute(&mut *tx)
    .await
    .map(drop)
}

/// A budget, held until the transaction ends, and what time it is.
pub(crate) async fn find_for_update(
    tx: &mut SystemTx,
    owner: Owner,
    id: BudgetId,
) -> Result<(Row, DateTime<Utc>), Error> {
    let held = sqlx::query_scalar!(
        r#"select now() as "now!" from engine.budget
           where budget_id = $1 and tenant_id is not distinct from $2 for no key update"#,
        id as _,
        owner as Option<TenantId>,
    )
    .fetch_optional(&mut **tx)
    .await?;
    let now = held.ok_or(Error::BudgetNotFound(id))?;
    Ok((budget::find(tx, owner, id).await?, now))
}

/// Sets the limits anew, and wakes whoever was short of them. The budget's row is held by the caller.
pub(crate) async fn update(
    tx: &mut SystemTx,
    owner: Owner,
    id: BudgetId,
    limits: &Budget,
) -> Result<Rouse, sqlx::Error> {
    set_lines(tx, owner, id, limits).await?;
    sqlx::query!(
        "update engine.budget set version = version + 1, updated_at = now() where budget_id = $1 and tenant_id is not distinct from $2",
        id as _,
        owner as Option<TenantId>,
    )
    .execute(&mut **tx)
    .await?;
    open_anew(tx, id).await
}

/// Takes a budget away, and wakes whoever was short of it.
pub(crate) async fn delete(
    tx: &mut SystemTx,
    owner: Owner,
    id: BudgetId,
) -> Result<Rouse, sqlx::Error> {
    sqlx::query!(
        "delete from engine.budget where budget_id = $1 and tenant_id is not distinct from $2",
        id as _,
        owner as Option<TenantId>,
    )
    .execute(&mut **tx)
    .await?;
    open_anew(tx, id).await
}

/// Adds up what has happened to a budget that is different now, and wakes those for whom there is room.
async fn open_anew(tx: &mut SystemTx, id: BudgetId) -> Result<Rouse, sqlx::Error> {
    let mut open = Open::read(tx, &BTreeSet::from([id]), &[], None).await?;
    open.raised(id);
    open.write(tx).await
}

/// Tells a run that its budget is about to be changed, for its journal; says whether it is under way. The budget's row is held
/// by the caller, and no other run's: a committer holds many, and waits for those.
pub(crate) async fn tell_run(
    tx: &mut SystemTx,
    (tenant, run): (TenantId, RunId),
    changed: Changed,
) -> Result<bool, sqlx::Error> {
    let signal = Signal::Room { changed: Some(Box::new(changed)) };
    let signal =
        serde_json::to_string(&signal).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let told = sqlx::query!(
        "with held as (
             select run_id, tenant_id from engine.run
             where tenant_id = $1 and run_id = $2 and finish_reason is null for update)
         insert into engine.run_signal (run_id, tenant_id, signal)
         select run_id, tenant_id, $3::text::jsonb from held",
        tenant as _,
        run as _,
        signal,
    )
    .execute(&mut **tx)
    .await?;
    Ok(told.rows_affected() > 0)
}
