//! What calls take that no run makes. What runs take is written with their journals; see `committer`.

use dbutil::TenantTx;
use sqlx::types::Uuid;

use crate::budgets::Drawn;

/// Notes what calls have taken out of their holds; whoever has the budget's row locked next adds it up.
pub(crate) async fn insert(tx: &mut TenantTx, drawn: &[Drawn]) -> Result<(), sqlx::Error> {
    if drawn.is_empty() {
        return Ok(());
    }
    let tenant = tx.tenant();
    let budgets: Vec<Uuid> = drawn.iter().map(|drawn| drawn.key.budget.uuid()).collect();
    let quantities: Vec<&str> = drawn.iter().map(|drawn| drawn.key.quantity.as_str()).collect();
    let holds: Vec<Uuid> = drawn.iter().map(|drawn| drawn.hold).collect();
    let amounts: Vec<i64> = drawn.iter().map(|drawn| drawn.amount).collect();
    sqlx::query!(
        "insert into engine.budget_spending (tenant_id, budget_id, quantity, hold_id, amount)
         select $1, * from unnest($2::uuid[], $3::text[], $4::uuid[], $5::bigint[])",
        tenant as _,
        &budgets,
        &quantities as _,
        &holds,
        &amounts,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}
