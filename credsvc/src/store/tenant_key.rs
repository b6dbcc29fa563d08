//! Tenants' keys, wrapped.

use dbutil::{SystemTx, TenantTx};
use shared_models::TenantId;

use crate::vault::WrappedKey;

/// The key that new secrets of the tenant are sealed under.
pub(crate) async fn find_active(tx: &mut TenantTx) -> Result<Option<WrappedKey>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        WrappedKey,
        "select version, wrapped, root_version from credsvc.tenant_key
         where tenant_id = $1 and state = 'active'",
        tenant as _,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// One of the tenant's keys by its version, unless it was retired.
pub(crate) async fn find(
    tx: &mut TenantTx,
    version: i32,
) -> Result<Option<WrappedKey>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        WrappedKey,
        "select version, wrapped, root_version from credsvc.tenant_key
         where tenant_id = $1 and version = $2 and state <> 'retired'",
        tenant as _,
        version,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// Adds a key unless the tenant already has an active one.
pub(crate) async fn insert_if_first(
    tx: &mut TenantTx,
    key: &WrappedKey,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into credsvc.tenant_key (tenant_id, version, wrapped, root_version)
         values ($1, $2, $3, $4) on conflict do nothing",
        tenant as _,
        key.version,
        key.wrapped,
        key.root_version,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Any tenant's key, to see whether the root key is the one they are under.
pub(crate) async fn find_any(
    tx: &mut SystemTx,
) -> Result<Option<(TenantId, WrappedKey)>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select tenant_id as "tenant_id: TenantId", version, wrapped, root_version
           from credsvc.tenant_key where state <> 'retired' order by created_at desc limit 1"#,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(|row| {
        let key = WrappedKey {
            version: row.version,
            wrapped: row.wrapped,
            root_version: row.root_version,
        };
        (row.tenant_id, key)
    }))
}
