//! Keys put under other keys: what is still under an old one, and its row once it is not. Each step is one row that is
//! compared before it is set, so that a rotation can be killed anywhere, run twice, and meet every other writer.

use dbutil::{SystemTx, TenantTx};
use shared_models::{CredentialId, ProviderConfigId, TenantId, UserId};
use uuid::Uuid;

use crate::vault::{Sealed, Whose, WrappedKey};

/// Tenants' keys that are not under the root key of this version, after one of them.
pub(crate) async fn under_other_roots(
    tx: &mut SystemTx,
    root: i32,
    after: Option<(TenantId, i32)>,
    limit: i64,
) -> Result<Vec<(TenantId, WrappedKey)>, sqlx::Error> {
    let (tenant, version) = after.unwrap_or((Uuid::nil().into(), 0));
    let rows = sqlx::query!(
        r#"select tenant_id as "tenant_id: TenantId", version, wrapped, root_version from credsvc.tenant_key
           where root_version <> $1 and state <> 'retired' and (tenant_id, version) > ($2, $3)
           order by tenant_id, version limit $4"#,
        root,
        tenant as _,
        version,
        limit,
    )
    .fetch_all(&mut **tx)
    .await?;
    let key = |version, wrapped, root_version| WrappedKey { version, wrapped, root_version };
    Ok(rows.into_iter().map(|r| (r.tenant_id, key(r.version, r.wrapped, r.root_version))).collect())
}

/// Puts a tenant's key under another root key, if it is still under the one it was read under.
pub(crate) async fn rewrap(
    tx: &mut TenantTx,
    from: &WrappedKey,
    to: &WrappedKey,
) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update credsvc.tenant_key set wrapped = $4, root_version = $5
         where tenant_id = $1 and version = $2 and wrapped = $3 and state <> 'retired'",
        tenant as _,
        from.version,
        from.wrapped,
        to.wrapped,
        to.root_version,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected() == 1)
}

/// Makes a key the tenant's active one, if `from` still is; what is sealed under `from` stays readable.
pub(crate) async fn activate(
    tx: &mut TenantTx,
    from: i32,
    (to, print_key): &(WrappedKey, String),
) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    let retiring = sqlx::query!(
        "update credsvc.tenant_key set state = 'retiring'
         where tenant_id = $1 and version = $2 and state = 'active'",
        tenant as _,
        from,
    )
    .execute(&mut **tx)
    .await?;
    if retiring.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query!(
        "insert into credsvc.tenant_key (tenant_id, version, wrapped, root_version, print_key)
         values ($1, $2, $3, $4, $5)",
        tenant as _,
        to.version,
        to.wrapped,
        to.root_version,
        print_key,
    )
    .execute(&mut **tx)
    .await
    .map(|_| true)
}

/// The highest version of the tenant's keys, retired ones too.
pub(crate) async fn highest(tx: &mut TenantTx) -> Result<i32, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"select coalesce(max(version), 0) as "version!" from credsvc.tenant_key where tenant_id = $1"#,
        tenant as _,
    )
    .fetch_one(&mut **tx)
    .await
}

/// Whether a rotation was begun and not finished.
pub(crate) async fn is_under_way(tx: &mut TenantTx) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"select exists (select from credsvc.tenant_key where tenant_id = $1 and state = 'retiring') as "is!""#,
        tenant as _,
    )
    .fetch_one(&mut **tx)
    .await
}

/// A sealed secret, to see whether it opens.
#[derive(Debug)]
pub(crate) struct SealedRow {
    pub(crate) whose: Whose,
    pub(crate) sealed: Sealed,
}

/// Secrets of the tenant's credentials after one of them, of deleted ones too.
pub(crate) async fn page(
    tx: &mut TenantTx,
    after: Option<CredentialId>,
    limit: i64,
) -> Result<Vec<SealedRow>, sqlx::Error> {
    let tenant = tx.tenant();
    let rows = sqlx::query!(
        r#"select credential_id as "id: CredentialId", user_id as "user_id: UserId", version, tenant_key_version,
               data_key, sealed
           from credsvc.credential
           where tenant_id = $1 and ($2::uuid is null or credential_id > $2)
           order by credential_id limit $3"#,
        tenant as _,
        after as _,
        limit,
    )
    .fetch_all(&mut **tx)
    .await?;
    let row = |whose, tenant_key_version, data_key, secret| SealedRow {
        whose,
        sealed: Sealed { tenant_key_version, data_key, secret },
    };
    let whose = |id, user, version| Whose { tenant, credential: id, user, version };
    let rows = rows.into_iter();
    Ok(rows
        .map(|r| row(whose(r.id, r.user_id, r.version), r.tenant_key_version, r.data_key, r.sealed))
        .collect())
}

/// A data key under a tenant's key.
#[derive(Clone, Debug)]
pub(crate) struct DataKey {
    pub(crate) whose: Whose,
    pub(crate) tenant_key_version: i32,
    pub(crate) wrapped: String,
}

/// Data keys of the tenant that are under older keys than this version; of deleted credentials too.
pub(crate) async fn under_older_keys(
    tx: &mut TenantTx,
    active: i32,
    limit: i64,
) -> Result<Vec<DataKey>, sqlx::Error> {
    let tenant = tx.tenant();
    let rows = sqlx::query!(
        r#"select credential_id as "id: CredentialId", user_id as "user_id: UserId", version, tenant_key_version,
               data_key
           from credsvc.credential where tenant_id = $1 and tenant_key_version < $2
           order by tenant_key_version, credential_id limit $3"#,
        tenant as _,
        active,
        limit,
    )
    .fetch_all(&mut **tx)
    .await?;
    let key = |id, user, version, tenant_key_version, wrapped| DataKey {
        whose: Whose { tenant, credential: id, user, version },
        tenant_key_version,
        wrapped,
    };
    Ok(rows
        .into_iter()
        .map(|r| key(r.id, r.user_id, r.version, r.tenant_key_version, r.data_key))
        .collect())
}

/// Puts data keys under a newer one of the tenant's keys, those that nobody has changed meanwhile; says how many.
pub(crate) async fn rewrap_data_keys(
    tx: &mut TenantTx,
    to: i32,
    keys: &[(DataKey, String)],
) -> Result<u64, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update credsvc.credential as c set data_key = n.new, tenant_key_version = $2
         from unnest($3::uuid[], $4::text[], $5::text[]) as n (id, old, new)
         where c.tenant_id = $1 and c.credential_id = n.id and c.data_key = n.old",
        tenant as _,
        to,
        &keys.iter().map(|(key, _)| key.whose.credential.uuid()).collect::<Vec<_>>(),
        &keys.iter().map(|(key, _)| key.wrapped.clone()).collect::<Vec<_>>(),
        &keys.iter().map(|(_, new)| new.clone()).collect::<Vec<_>>(),
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected())
}

/// The secrets of registered clients that are under older keys than this version.
pub(crate) async fn clients_under_older_keys(
    tx: &mut TenantTx,
    active: i32,
) -> Result<Vec<DataKey>, sqlx::Error> {
    let tenant = tx.tenant();
    let rows = sqlx::query!(
        r#"select provider_config_id as "id: ProviderConfigId", version, tenant_key_version, data_key
           from credsvc.provider_config where tenant_id = $1 and tenant_key_version < $2 limit 500"#,
        tenant as _,
        active,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| DataKey {
            whose: super::provider_config::whose(tenant, row.id, row.version),
            tenant_key_version: row.tenant_key_version,
            wrapped: row.data_key,
        })
        .collect())
}

/// Puts a client's data key under another of the tenant's keys.
pub(crate) async fn rewrap_client(
    tx: &mut TenantTx,
    to: i32,
    key: &DataKey,
    new: &str,
) -> Result<u64, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update credsvc.provider_config set data_key = $4, tenant_key_version = $5
         where tenant_id = $1 and provider_config_id = $2 and data_key = $3",
        tenant as _,
        key.whose.credential.uuid(),
        key.wrapped,
        new,
        to,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected())
}

/// Retires the tenant's keys that nothing is under any more, and takes their bytes; says which. Locks them first: the
/// foreign key of whatever is being put under one holds it, and is seen by the look that follows.
pub(crate) async fn retire_unused(tx: &mut TenantTx) -> Result<Vec<i32>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "select version from credsvc.tenant_key where tenant_id = $1 and state = 'retiring' for update",
        tenant as _,
    )
    .fetch_all(&mut **tx)
    .await?;
    sqlx::query_scalar!(
        "update credsvc.tenant_key as k set state = 'retired', wrapped = '', print_key = null
         where k.tenant_id = $1 and k.state = 'retiring'
           and not exists (select from credsvc.credential c
               where c.tenant_id = $1 and c.tenant_key_version = k.version)
           and not exists (select from credsvc.provider_config p
               where p.tenant_id = $1 and p.tenant_key_version = k.version)
         returning version",
        tenant as _,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Destroys every key of the tenant: nothing that is sealed under them opens again. Says how many.
pub(crate) async fn destroy(tx: &mut TenantTx) -> Result<u64, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update credsvc.tenant_key set state = 'retired', wrapped = '', print_key = null
         where tenant_id = $1 and (state <> 'retired' or wrapped <> '')",
        tenant as _,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected())
}

/// Tenants that have a key which is not retired.
pub(crate) async fn tenants(tx: &mut SystemTx) -> Result<Vec<TenantId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select distinct tenant_id as "tenant_id: TenantId" from credsvc.tenant_key
           where state <> 'retired' order by 1"#,
    )
    .fetch_all(&mut **tx)
    .await
}
