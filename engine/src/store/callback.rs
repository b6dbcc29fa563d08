//! Calls whose answer the other side brings. The token itself is never stored.

use dbutil::{Db, TenantTx};
use shared_models::{RunId, TenantId};

/// How such a call stands.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) call_key: String,
    /// What the other side has said.
    pub(crate) result: Option<String>,
    /// That it has not worked.
    pub(crate) failed: bool,
    pub(crate) answered: bool,
    /// Its time is over, whether the run has been told or not.
    pub(crate) over: bool,
}

/// Lets the other side answer a call. When the call is made again it has all its time again, unless it was answered.
pub(crate) async fn open(
    tx: &mut TenantTx,
    (run, key): (RunId, &str),
    token_hash: &[u8; 32],
    expires_seconds: u32,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into engine.callback (run_id, call_key, tenant_id, token_hash, expires_at)
         values ($1, $2, $3, $4, now() + make_interval(secs => $5))
         on conflict (run_id, call_key) do update
         set token_hash = excluded.token_hash, expires_at = excluded.expires_at, expired_at = null
         where callback.answered_at is null",
        run as _,
        key,
        tenant as _,
        token_hash.as_slice(),
        f64::from(expires_seconds),
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// The call was answered at once: nobody will call back.
pub(crate) async fn close(tx: &mut TenantTx, run: RunId, key: &str) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "delete from engine.callback
         where tenant_id = $1 and run_id = $2 and call_key = $3 and answered_at is null",
        tenant as _,
        run as _,
        key,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

pub(crate) async fn find(
    tx: &mut TenantTx,
    run: RunId,
    key: &str,
) -> Result<Option<Row>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Row,
        r#"select call_key, result, failed, answered_at is not null as "answered!",
                  expired_at is not null or expires_at <= now() as "over!"
           from engine.callback where tenant_id = $1 and run_id = $2 and call_key = $3"#,
        tenant as _,
        run as _,
        key,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// Whose token this is.
pub(crate) async fn by_token(
    db: &Db,
    token_hash: &[u8; 32],
) -> Result<Option<(TenantId, RunId, String)>, sqlx::Error> {
    let found = sqlx::query!(
        r#"select tenant_id as "tenant: TenantId", run_id as "run: RunId", call_key
           from engine.callback where token_hash = $1"#,
        token_hash.as_slice(),
    )
    .fetch_optional(db.system_pool())
    .await?;
    Ok(found.map(|row| (row.tenant, row.run, row.call_key)))
}

/// The other side has answered. The run is held.
pub(crate) async fn answer(
    tx: &mut TenantTx,
    (run, key): (RunId, &str),
    (result, failed): (&str, bool),
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.callback set answered_at = now(), result = $4, failed = $5
         where tenant_id = $1 and run_id = $2 and call_key = $3 and answered_at is null",
        tenant as _,
        run as _,
        key,
        result,
        failed,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Its time is over; says whether it is, as the call may have been made again meanwhile. The run is held.
pub(crate) async fn expire(tx: &mut TenantTx, run: RunId, key: &str) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.callback set expired_at = now()
         where tenant_id = $1 and run_id = $2 and call_key = $3
           and answered_at is null and expired_at is null and expires_at <= now()",
        tenant as _,
        run as _,
        key,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected() > 0)
}

/// Calls that nobody has answered in time, the oldest first.
pub(crate) async fn overdue(
    db: &Db,
    limit: i64,
) -> Result<Vec<(TenantId, RunId, String)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select tenant_id as "tenant: TenantId", run_id as "run: RunId", call_key
           from engine.callback
           where answered_at is null and expired_at is null and expires_at <= now()
           order by expires_at limit $1"#,
        limit,
    )
    .fetch_all(db.system_pool())
    .await?;
    Ok(rows.into_iter().map(|row| (row.tenant, row.run, row.call_key)).collect())
}
