//! Clients registered with OAuth providers. The platform's are readable for every tenant, by a policy of their own.

use chrono::{DateTime, Utc};
use dbutil::{OnConstraint as _, TenantTx};
use serde_json::Value;
use shared_models::{ProviderConfigId, TenantId, UserId};

use crate::{
    Error,
    vault::{Sealed, Whose},
};

/// A registered client. Its secret is sealed.
#[derive(Clone, Debug)]
pub(crate) struct ProviderConfig {
    pub(crate) id: ProviderConfigId,
    /// Whose key its secret is under.
    pub(crate) tenant_id: TenantId,
    pub(crate) platform: bool,
    pub(crate) name: String,
    pub(crate) provider: String,
    pub(crate) client_id: String,
    pub(crate) settings: Value,
    pub(crate) version: i32,
    pub(crate) tenant_key_version: i32,
    pub(crate) data_key: String,
    pub(crate) sealed: String,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

/// What a client's secret is bound to.
pub(crate) fn whose(tenant: TenantId, id: ProviderConfigId, version: i32) -> Whose {
    Whose { tenant, credential: id.uuid().into(), user: None, version }
}

impl ProviderConfig {
    /// Its secret.
    pub(crate) fn sealed(&self) -> Sealed {
        Sealed {
            tenant_key_version: self.tenant_key_version,
            data_key: self.data_key.clone(),
            secret: self.sealed.clone(),
        }
    }

    /// What its secret is bound to.
    pub(crate) fn whose(&self) -> Whose {
        whose(self.tenant_id, self.id, self.version)
    }
}

/// A client to be stored.
#[derive(Debug)]
pub(crate) struct NewConfig<'a> {
    pub(crate) id: ProviderConfigId,
    pub(crate) platform: bool,
    pub(crate) name: &'a str,
    pub(crate) provider: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) settings: &'a Value,
    pub(crate) version: i32,
    pub(crate) sealed: &'a Sealed,
    pub(crate) by: UserId,
}

/// Adds a client. For a transaction of [`crate::keys::Keys::begin`].
pub(crate) async fn insert(tx: &mut TenantTx, new: &NewConfig<'_>) -> Result<(), Error> {
    let tenant = tx.tenant();
    let taken = || Error::ConfigTaken(new.name.to_owned());
    let done = sqlx::query!(
        "insert into credsvc.provider_config (provider_config_id, tenant_id, platform, name, provider, client_id,
             settings, version, tenant_key_version, data_key, sealed, created_by)
         values ($1, $2, $3, $4, $5, $6, $7, 1, $8, $9, $10, $11)",
        new.id as _,
        tenant as _,
        new.platform,
        new.name,
        new.provider,
        new.client_id,
        new.settings,
        new.sealed.tenant_key_version,
        new.sealed.data_key,
        new.sealed.secret,
        new.by as _,
    )
    .execute(&mut **tx)
    .await;
    match done.map(drop).on_constraint("provider_config_name_key", taken) {
        Err(Error::Db(error)) => Err(error).on_constraint("provider_config_platform_key", taken),
        done => done,
    }
}

/// Replaces a client of the tenant's; its version rises. Says whether it was at that version. For a transaction of
/// [`crate::keys::Keys::begin`].
pub(crate) async fn update(tx: &mut TenantTx, new: &NewConfig<'_>) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update credsvc.provider_config
         set client_id = $4, settings = $5, version = version + 1, tenant_key_version = $6,
             data_key = $7, sealed = $8, updated_at = now()
         where tenant_id = $2 and provider_config_id = $1 and version = $3",
        new.id as _,
        tenant as _,
        new.version,
        new.client_id,
        new.settings,
        new.sealed.tenant_key_version,
        new.sealed.data_key,
        new.sealed.secret,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected() == 1)
}

/// One that the tenant may use: its own, or the platform's.
pub(crate) async fn find(
    tx: &mut TenantTx,
    id: ProviderConfigId,
) -> Result<Option<ProviderConfig>, sqlx::Error> {
    Ok(select(tx, Some(id)).await?.pop())
}

/// All that the tenant may use, its own first.
pub(crate) async fn list(tx: &mut TenantTx) -> Result<Vec<ProviderConfig>, sqlx::Error> {
    select(tx, None).await
}

async fn select(
    tx: &mut TenantTx,
    id: Option<ProviderConfigId>,
) -> Result<Vec<ProviderConfig>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        ProviderConfig,
        r#"select provider_config_id as "id: ProviderConfigId", tenant_id as "tenant_id: TenantId", platform, name,
               provider, client_id, settings, version, tenant_key_version, data_key, sealed, created_at, updated_at
           from credsvc.provider_config
           where (tenant_id = $1 or platform) and ($2::uuid is null or provider_config_id = $2)
           order by platform, name limit 500"#,
        tenant as _,
        id as _,
    )
    .fetch_all(&mut **tx)
    .await
}

/// The tenant's own, by id, after one of them.
pub(crate) async fn page(
    tx: &mut TenantTx,
    after: Option<ProviderConfigId>,
    limit: i64,
) -> Result<Vec<ProviderConfig>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        ProviderConfig,
        r#"select provider_config_id as "id: ProviderConfigId", tenant_id as "tenant_id: TenantId", platform, name,
               provider, client_id, settings, version, tenant_key_version, data_key, sealed, created_at, updated_at
           from credsvc.provider_config
           where tenant_id = $1 and ($2::uuid is null or provider_config_id > $2)
           order by provider_config_id limit $3"#,
        tenant as _,
        after as _,
        limit,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Removes a client of the tenant's that no live credential is connected by; says whether it was there.
pub(crate) async fn delete(tx: &mut TenantTx, id: ProviderConfigId) -> Result<bool, Error> {
    let tenant = tx.tenant();
    let gone = sqlx::query!(
        "delete from credsvc.provider_config where tenant_id = $1 and provider_config_id = $2",
        tenant as _,
        id as _,
    )
    .execute(&mut **tx)
    .await?;
    let used = sqlx::query_scalar!(
        r#"select count(*) as "count!" from credsvc.credential
           where tenant_id = $1 and provider_config_id = $2 and deleted_at is null"#,
        tenant as _,
        id as _,
    )
    .fetch_one(&mut **tx)
    .await?;
    if used > 0 { Err(Error::ConfigInUse(used)) } else { Ok(gone.rows_affected() == 1) }
}
