//! Which run is another one's retry.

use dbutil::TenantTx;
use shared_models::RunId;

/// Notes that `run` is a retry of `of`.
pub(crate) async fn insert(tx: &mut TenantTx, run: RunId, of: RunId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into engine.run_link (run_id, tenant_id, of_run_id, kind) values ($1, $2, $3, 'retry')",
        run as _,
        tenant as _,
        of as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// The run that this one is a retry of.
pub(crate) async fn retry_of(tx: &mut TenantTx, run: RunId) -> Result<Option<RunId>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"select of_run_id as "of_run_id: RunId" from engine.run_link where tenant_id = $1 and run_id = $2"#,
        tenant as _,
        run as _,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// The retries of this run, oldest first.
pub(crate) async fn retries(tx: &mut TenantTx, of: RunId) -> Result<Vec<RunId>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"select run_id as "run_id: RunId" from engine.run_link
           where tenant_id = $1 and of_run_id = $2 order by created_at, run_id limit 100"#,
        tenant as _,
        of as _,
    )
    .fetch_all(&mut **tx)
    .await
}
