//! What a fork has of another run.
//!
//! Invariant: the content of a tree is not forgotten while a fork of it has content itself. Whoever forgets looks at the
//! holds, but in a snapshot that may be older than a fork that was committed meanwhile; so the fork also changes the row
//! that is locked for forgetting, and one that was changed a short while ago is passed over.

use dbutil::TenantTx;
use shared_models::RunId;

use crate::record::{ContentRef, Record, VERSION};

/// Says that a fork of the tree is being made; false when its content is gone.
pub(crate) async fn mark(tx: &mut TenantTx, root: RunId) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.run set forked_at = now()
         where tenant_id = $1 and run_id = $2 and content_pruned_at is null",
        tenant as _,
        root as _,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected() == 1)
}

/// Holds the content of the tree, and of those that it holds the content of itself.
pub(crate) async fn keep(tx: &mut TenantTx, fork: RunId, root: RunId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into engine.content_hold (root_run_id, of_root_run_id, tenant_id)
         select $2::uuid, $3::uuid, $1::uuid
         union
         select $2::uuid, of_root_run_id, $1::uuid from engine.content_hold where tenant_id = $1 and root_run_id = $3",
        tenant as _,
        fork as _,
        root as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Keeps something that is said in the fork alone.
pub(crate) async fn say(
    tx: &mut TenantTx,
    fork: RunId,
    reference: ContentRef,
    body: &[u8],
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into engine.content (root_run_id, hash, tenant_id, body) values ($2, $3, $1, $4)
         on conflict do nothing",
        tenant as _,
        fork as _,
        reference.0.as_slice(),
        body,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Writes records, each at its path, from a sequence on.
pub(crate) async fn write(
    tx: &mut TenantTx,
    fork: RunId,
    first: i64,
    records: &[(String, Record)],
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    let (mut paths, mut kinds, mut data) = (Vec::new(), Vec::new(), Vec::new());
    for (path, record) in records {
        let columns = record.columns().map_err(|error| sqlx::Error::Encode(error.into()))?;
        paths.push(path.clone());
        kinds.push(columns.0);
        data.push(columns.1);
    }
    sqlx::query!(
        "insert into engine.journal (run_id, seq, tenant_id, epoch, path, kind, v, data)
         select $2, $3 + r.place - 1, $1, 0, r.path, r.kind, $4, r.data::json
         from unnest($5::text[], $6::text[], $7::text[]) with ordinality as r (path, kind, data, place)",
        tenant as _,
        fork as _,
        first,
        VERSION,
        &paths,
        &kinds,
        &data,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}
