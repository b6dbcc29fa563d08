//! What was said, read.

use std::collections::HashMap;

use dbutil::TenantTx;
use shared_models::RunId;

use crate::record::ContentRef;

/// The bodies of these references that exist, in the tree itself or in one that it is a fork of.
pub(crate) async fn find(
    tx: &mut TenantTx,
    root: RunId,
    refs: &[ContentRef],
) -> Result<HashMap<ContentRef, Vec<u8>>, sqlx::Error> {
    let tenant = tx.tenant();
    let hashes: Vec<Vec<u8>> = refs.iter().map(|hash| hash.0.to_vec()).collect();
    let rows = sqlx::query!(
        "select hash, body from engine.content
         where tenant_id = $1 and hash = any($3) and root_run_id = any (array(
             select $2::uuid
             union all
             select of_root_run_id from engine.content_hold where tenant_id = $1 and root_run_id = $2))",
        tenant as _,
        root as _,
        &hashes,
    )
    .fetch_all(&mut **tx)
    .await?;
    let known = |row: &[u8]| row.try_into().ok().map(ContentRef);
    Ok(rows.into_iter().filter_map(|row| Some((known(&row.hash)?, row.body))).collect())
}
