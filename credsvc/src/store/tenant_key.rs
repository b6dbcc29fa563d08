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

/// Keeps a key the tenant's active one until the transaction ends; says whether it still was.
pub(crate) async fn hold_active(tx: &mut TenantTx, version: i32) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        "select version from credsvc.tenant_key
         where tenant_id = $1 and version = $2 and state = 'active' for share",
        tenant as _,
        version,
    )
    .fetch_optional(&mut **tx)
    .await
    .map(|held| held.is_some())
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

/// The key for fingerprints, as this key of the tenant's wraps it, if it does.
pub(crate) async fn find_print_key(
    tx: &mut TenantTx,
    version: i32,
) -> Result<Option<String>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        "select print_key from credsvc.tenant_key where tenant_id = $1 and version = $2",
        tenant as _,
        version,
    )
    .fetch_optional(&mut **tx)
    .await
    .map(Option::flatten)
}

/// Adds a key for fingerprints to the active key unless it wraps one; gives the one it wraps then. None when it is not the
/// active one any more.
pub(crate) async fn add_print_key(
    tx: &mut TenantTx,
    version: i32,
    wrapped: &str,
) -> Result<Option<String>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        "update credsvc.tenant_key set print_key = coalesce(print_key, $3)
         where tenant_id = $1 and version = $2 and state = 'active' returning print_key",
        tenant as _,
        version,
        wrapped,
    )
    .fetch_optional(&mut **tx)
    .await
    .map(Option::flatten)
}

/// Adds a key unless the tenant already has an active one.
pub(crate) async fn insert_if_first(
    tx: &mut TenantTx,
    (key, print_key): &(WrappedKey, String),
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into credsvc.tenant_key (tenant_id, version, wrapped, root_version, print_key)
         values ($1, $2, $3, $4, $5) on conflict do nothing",
        tenant as _,
        key.version,
        key.wrapped,
        key.root_version,
        print_key,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// One tenant's key of each root key that stored keys are under, to see whether they are the right ones.
pub(crate) async fn one_of_each_root(
    tx: &mut SystemTx,
) -> Result<Vec<(TenantId, WrappedKey)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select distinct on (root_version) tenant_id as "tenant_id: TenantId", version, wrapped, root_version
           from credsvc.tenant_key where state <> 'retired' order by root_version, created_at desc"#,
    )
    .fetch_all(&mut **tx)
    .await?;
    let key = |version, wrapped, root_version| WrappedKey { version, wrapped, root_version };
    Ok(rows.into_iter().map(|r| (r.tenant_id, key(r.version, r.wrapped, r.root_version))).collect())
}
