//! Credentials: sealed secrets and what may be seen of them.

mod parts;

use chrono::{DateTime, Utc};
use dbutil::{Cursor, OnConstraint as _, SystemTx, TenantTx};
use serde_json::Value;
use shared_models::{
    CredentialId, ProviderConfigId, TenantId, UserId, events::credential::CredentialHealthChanged,
};
use uuid::Uuid;

use crate::{
    Error,
    vault::{Sealed, Whose},
};
pub(crate) use parts::{Connection, Environment, Health, Terms};

/// A credential as it is stored. The secret is sealed.
#[derive(Clone, Debug)]
pub(crate) struct Credential {
    pub(crate) id: CredentialId,
    pub(crate) tenant_id: TenantId,
    pub(crate) user_id: Option<UserId>,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) environment: Environment,
    pub(crate) meta: Value,
    pub(crate) mask: Value,
    pub(crate) version: i32,
    pub(crate) revision: i32,
    pub(crate) tenant_key_version: i32,
    pub(crate) data_key: String,
    pub(crate) sealed: String,
    pub(crate) created_by: UserId,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    pub(crate) last_used_at: Option<DateTime<Utc>>,
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) honey: bool,
    pub(crate) health: Health,
    pub(crate) health_reason: Option<String>,
    pub(crate) tested: Option<Value>,
    pub(crate) provider_config_id: Option<ProviderConfigId>,
    pub(crate) account: Option<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) token_expires_at: Option<DateTime<Utc>>,
    pub(crate) refreshed_at: Option<DateTime<Utc>>,
}

impl Credential {
    /// Whether we get and renew its access token, which is all that is given out of it then.
    pub(crate) fn is_connection(&self) -> bool {
        self.provider_config_id.is_some() || self.token_expires_at.is_some()
    }

    /// The event that tells of its health.
    pub(crate) fn health_changed(&self) -> CredentialHealthChanged {
        CredentialHealthChanged {
            credential_id: self.id,
            user_id: self.user_id,
            health: self.health.as_str().into(),
            reason: self.health_reason.clone(),
        }
    }

    /// What its secret is bound to.
    pub(crate) fn whose(&self) -> Whose {
        Whose {
            tenant: self.tenant_id,
            credential: self.id,
            user: self.user_id,
            version: self.version,
        }
    }

    /// Its secret.
    pub(crate) fn sealed(&self) -> Sealed {
        Sealed {
            tenant_key_version: self.tenant_key_version,
            data_key: self.data_key.clone(),
            secret: self.sealed.clone(),
        }
    }

    /// Its place in a list.
    pub(crate) fn position(&self) -> Cursor {
        Cursor { at: self.created_at, id: self.id.uuid() }
    }
}

/// A credential to be stored.
#[derive(Debug)]
pub(crate) struct NewCredential<'a> {
    pub(crate) whose: Whose,
    pub(crate) name: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) environment: Environment,
    pub(crate) meta: &'a Value,
    pub(crate) mask: &'a Value,
    pub(crate) sealed: &'a Sealed,
    pub(crate) created_by: UserId,
    pub(crate) terms: &'a Terms,
    /// For what is connected or gets tokens of its own.
    pub(crate) connection: Option<&'a Connection>,
}

/// Adds a credential; its name must be new among the tenant's live ones of that environment. For a transaction of
/// [`crate::keys::Keys::begin`].
pub(crate) async fn insert(tx: &mut TenantTx, new: &NewCredential<'_>) -> Result<(), Error> {
    let (tenant, nothing) = (tx.tenant(), Connection::default());
    let connection = new.connection.unwrap_or(&nothing);
    sqlx::query!(
        "insert into credsvc.credential (credential_id, tenant_id, user_id, name, type, environment, meta, mask,
             version, revision, tenant_key_version, data_key, sealed, created_by, expires_at, allowed_hosts, honey,
             provider_config_id, account, scopes, token_expires_at, refresh_due_at, begun_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
             now() + make_interval(secs => $20), now() + make_interval(secs => $21), $22)",
        new.whose.credential as _,
        tenant as _,
        new.whose.user as _,
        new.name,
        new.kind,
        new.environment as _,
        new.meta,
        new.mask,
        new.whose.version,
        new.sealed.tenant_key_version,
        new.sealed.data_key,
        new.sealed.secret,
        new.created_by as _,
        new.terms.expires_at,
        &new.terms.allowed_hosts,
        new.terms.honey,
        connection.provider_config_id as _,
        connection.account.as_deref(),
        &connection.scopes,
        connection.lives,
        connection.renew_in,
        connection.begun_at,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
    .on_constraint("credential_name_key", || Error::NameTaken(new.name.to_owned()))
}

/// A live credential.
pub(crate) async fn find(
    tx: &mut TenantTx,
    id: CredentialId,
) -> Result<Option<Credential>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Credential,
        r#"select credential_id as "id: CredentialId", tenant_id as "tenant_id: TenantId",
               user_id as "user_id: UserId", name, type as kind, environment as "environment: Environment",
               meta, mask, version, revision, tenant_key_version, data_key, sealed,
               created_by as "created_by: UserId", created_at, updated_at, last_used_at, expires_at,
               allowed_hosts, honey, health as "health: Health", health_reason, tested,
               provider_config_id as "provider_config_id: ProviderConfigId", account, scopes, token_expires_at,
               refreshed_at
           from credsvc.credential
           where tenant_id = $1 and credential_id = $2 and deleted_at is null"#,
        tenant as _,
        id as _,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// The database's time, which expiry is compared with.
pub(crate) async fn now(tx: &mut TenantTx) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(&mut **tx).await
}

/// Keeps a live credential from being deleted until the transaction ends; says whether it is there.
pub(crate) async fn hold(tx: &mut TenantTx, id: CredentialId) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    let found = sqlx::query!(
        "select credential_id from credsvc.credential
         where tenant_id = $1 and credential_id = $2 and deleted_at is null for share",
        tenant as _,
        id as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(found.is_some())
}

/// What a list is narrowed to.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    pub(crate) name: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) environment: Option<String>,
    pub(crate) health: Option<String>,
    /// All must be equal, as text.
    pub(crate) meta: Vec<(String, String)>,
}

/// Live credentials of the tenant and of `user` (of nobody when a service asks in its own name), newest first, one more
/// than `limit`.
pub(crate) async fn list_page(
    tx: &mut TenantTx,
    user: Option<UserId>,
    filter: &Filter,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<Credential>, sqlx::Error> {
    let tenant = tx.tenant();
    let (keys, values): (Vec<String>, Vec<String>) = filter.meta.iter().cloned().unzip();
    sqlx::query_as!(
        Credential,
        r#"select credential_id as "id: CredentialId", tenant_id as "tenant_id: TenantId",
               user_id as "user_id: UserId", name, type as kind, environment as "environment: Environment",
               meta, mask, version, revision, tenant_key_version, data_key, sealed,
               created_by as "created_by: UserId", created_at, updated_at, last_used_at, expires_at,
               allowed_hosts, honey, health as "health: Health", health_reason, tested,
               provider_config_id as "provider_config_id: ProviderConfigId", account, scopes, token_expires_at,
               refreshed_at
           from credsvc.credential
           where tenant_id = $1 and deleted_at is null
             and (user_id is null or user_id = $2)
             and ($3::text is null or name = $3)
             and ($4::text is null or type = $4)
             and ($5::text is null or environment = $5)
             and not exists (
                 select from unnest($6::text[], $7::text[]) as wanted (key, value)
                 where meta ->> wanted.key is distinct from wanted.value)
             and ($8::timestamptz is null or (created_at, credential_id) < ($8, $9))
             and ($11::text is null or health = $11)
           order by created_at desc, credential_id desc
           limit $10"#,
        tenant as _,
        user as _,
        filter.name.as_deref(),
        filter.kind.as_deref(),
        filter.environment.as_deref(),
        &keys,
        &values,
        after.map(|cursor| cursor.at),
        after.map(|cursor| cursor.id) as Option<Uuid>,
        limit + 1,
        filter.health.as_deref(),
    )
    .fetch_all(&mut **tx)
    .await
}

/// The editable part of a credential, after an edit.
#[derive(Debug)]
pub(crate) struct Edit<'a> {
    pub(crate) name: &'a str,
    pub(crate) meta: &'a Value,
    /// A new secret and its mask; its version is the old one plus one.
    pub(crate) secret: Option<(&'a Sealed, &'a Value)>,
    pub(crate) terms: &'a Terms,
    /// Its access token is to be got anew.
    pub(crate) renew: bool,
}

/// Changes a credential if it is still at `from.revision`. Gives the new state, or nothing when it is not. With a new
/// secret it is for a transaction of [`crate::keys::Keys::begin`].
pub(crate) async fn update(
    tx: &mut TenantTx,
    from: &Credential,
    edit: &Edit<'_>,
) -> Result<Option<Credential>, Error> {
    let (tenant, sealed) = (tx.tenant(), edit.secret.map(|(sealed, _)| sealed));
    sqlx::query_as!(
        Credential,
        r#"update credsvc.credential
           set name = $4, meta = $5, revision = revision + 1, updated_at = now(),
               version = version + case when $6::text is null then 0 else 1 end,
               sealed = coalesce($6, sealed), data_key = coalesce($7, data_key),
               tenant_key_version = coalesce($8, tenant_key_version), mask = coalesce($9, mask),
               expires_at = $10, allowed_hosts = $11, honey = $12,
               token_expires_at = case when $13 then now() else token_expires_at end,
               refresh_due_at = case when $13 then now() else refresh_due_at end,
               health = case when health in ('ok', 'expiring', 'expired')
                       or ($6::text is not null and health = 'failed_test') or ($13 and health = 'needs_reconnect')
                   then case when $10 <= now() then 'expired'
                       when $10 <= now() + interval '7 days' then 'expiring' else 'ok' end
                   else health end,
               health_reason = case
                   when ($6::text is not null and health = 'failed_test') or ($13 and health = 'needs_reconnect')
                       then null
                   when health in ('ok', 'expiring', 'expired') and health <> case when $10 <= now() then 'expired'
                       when $10 <= now() + interval '7 days' then 'expiring' else 'ok' end
                       then null
                   else health_reason end
           where tenant_id = $1 and credential_id = $2 and revision = $3 and deleted_at is null
           returning credential_id as "id: CredentialId", tenant_id as "tenant_id: TenantId",
               user_id as "user_id: UserId", name, type as kind, environment as "environment: Environment",
               meta, mask, version, revision, tenant_key_version, data_key, sealed,
               created_by as "created_by: UserId", created_at, updated_at, last_used_at, expires_at,
               allowed_hosts, honey, health as "health: Health", health_reason, tested,
               provider_config_id as "provider_config_id: ProviderConfigId", account, scopes, token_expires_at,
               refreshed_at"#,
        tenant as _,
        from.id as _,
        from.revision,
        edit.name,
        edit.meta,
        sealed.map(|sealed| sealed.secret.as_str()),
        sealed.map(|sealed| sealed.data_key.as_str()),
        sealed.map(|sealed| sealed.tenant_key_version),
        edit.secret.map(|(_, mask)| mask),
        edit.terms.expires_at,
        &edit.terms.allowed_hosts,
        edit.terms.honey,
        edit.renew,
    )
    .fetch_optional(&mut **tx)
    .await
    .on_constraint("credential_name_key", || Error::NameTaken(edit.name.to_owned()))
}

/// Hides a credential for good; says whether it was still there. Its secret stays sealed until it is shredded.
pub(crate) async fn mark_deleted(tx: &mut TenantTx, id: CredentialId) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update credsvc.credential set deleted_at = now(), updated_at = now()
         where tenant_id = $1 and credential_id = $2 and deleted_at is null",
        tenant as _,
        id as _,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected() == 1)
}

/// Removes up to `limit` credentials that were deleted so many days ago, with their sealed secrets; says how many.
pub(crate) async fn shred(tx: &mut SystemTx, days: i32, limit: i64) -> Result<u64, sqlx::Error> {
    sqlx::query!(
        "delete from credsvc.credential where credential_id in (
             select credential_id from credsvc.credential
             where deleted_at < now() - make_interval(days => $1)
             order by deleted_at limit $2 for update skip locked)",
        days,
        limit,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected())
}
