//! The journal, read.

use chrono::{DateTime, Utc};
use dbutil::TenantTx;
use serde_json::Value;
use shared_models::RunId;

/// A record as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) seq: i64,
    pub(crate) at: DateTime<Utc>,
    pub(crate) path: String,
    pub(crate) kind: String,
    pub(crate) data: Value,
}

/// Up to `most` records after `after`, in order.
pub(crate) async fn after(
    tx: &mut TenantTx,
    run: RunId,
    after: i64,
    most: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Row,
        r#"select seq, at, path, kind, data as "data: Value" from engine.journal
           where tenant_id = $1 and run_id = $2 and seq > $3 order by seq limit $4"#,
        tenant as _,
        run as _,
        after,
        most,
    )
    .fetch_all(&mut **tx)
    .await
}

/// The keys of the hooks that have let the run go on.
pub(crate) async fn hooks_passed(
    tx: &mut TenantTx,
    run: RunId,
) -> Result<Vec<String>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"select data ->> 'key' as "key!" from engine.journal
           where tenant_id = $1 and run_id = $2 and kind = 'hook_passed' order by seq"#,
        tenant as _,
        run as _,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Since when a call is in doubt, and what time it is.
pub(crate) async fn in_doubt_since(
    tx: &mut TenantTx,
    run: RunId,
    path: &str,
    call_id: &str,
) -> Result<Option<(DateTime<Utc>, DateTime<Utc>)>, sqlx::Error> {
    let tenant = tx.tenant();
    let row = sqlx::query!(
        r#"select at, now() as "now!" from engine.journal
           where tenant_id = $1 and run_id = $2 and kind = 'tool_in_doubt' and path = $3
             and data ->> 'call_id' = $4
           order by seq desc limit 1"#,
        tenant as _,
        run as _,
        path,
        call_id,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(|row| (row.at, row.now)))
}

/// The newest record; 0 when there is none.
pub(crate) async fn last_seq(tx: &mut TenantTx, run: RunId) -> Result<i64, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"select coalesce(max(seq), 0) as "seq!" from engine.journal
           where tenant_id = $1 and run_id = $2"#,
        tenant as _,
        run as _,
    )
    .fetch_one(&mut **tx)
    .await
}
