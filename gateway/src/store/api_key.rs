//! API keys, by their hash.

use chrono::{DateTime, Utc};
use dbutil::{Cursor, OnConstraint as _, SystemTx, TenantTx};
use serde::Serialize;
use shared_models::{ApiKeyId, TeamId, TenantId, UserId};
use uuid::Uuid;

use super::unknown;
use crate::{
    Error,
    identity::{Identity, effective_scopes},
    key::{KeyHash, NewKey},
    wire_time,
};

/// A key as lists show it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ApiKey {
    pub(crate) id: ApiKeyId,
    /// Whom it acts as.
    pub(crate) user_id: UserId,
    pub(crate) name: String,
    /// Its first characters.
    pub(crate) prefix: String,
    /// What it is limited to; null means whatever its user's role allows.
    pub(crate) scopes: Option<Vec<String>>,
    #[serde(serialize_with = "wire_time::maybe")]
    pub(crate) expires_at: Option<DateTime<Utc>>,
    /// To the minute.
    #[serde(serialize_with = "wire_time::maybe")]
    pub(crate) last_used_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "wire_time::maybe")]
    pub(crate) revoked_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "wire_time::time")]
    pub(crate) created_at: DateTime<Utc>,
}

impl ApiKey {
    /// Where it stands in lists.
    pub(crate) fn position(&self) -> Cursor {
        Cursor { at: self.created_at, id: self.id.uuid() }
    }
}

/// Adds a key.
pub(crate) async fn insert(
    tx: &mut TenantTx,
    (tenant, user): (TenantId, UserId),
    name: &str,
    key: &NewKey,
    scopes: Option<&[String]>,
    expires_at: Option<DateTime<Utc>>,
) -> Result<ApiKey, Error> {
    let id = ApiKeyId::mint();
    sqlx::query_as!(
        ApiKey,
        r#"insert into gateway.api_key (api_key_id, tenant_id, user_id, name, prefix, hash, scopes, expires_at)
           values ($1, $2, $3, $4, $5, $6, $7, $8)
           returning api_key_id as "id: ApiKeyId", user_id as "user_id: UserId", name, prefix, scopes, expires_at,
                     last_used_at, revoked_at, created_at"#,
        id as _,
        tenant as _,
        user as _,
        name,
        key.prefix,
        key.hash.0.as_slice(),
        scopes,
        expires_at,
    )
    .fetch_one(&mut **tx)
    .await
    .on_constraint("api_key_expiry_check", || Error::field("/expires_at", "must be in the future"))
}

/// A user's keys, newest first, one more than `limit`.
pub(crate) async fn list_page(
    tx: &mut TenantTx,
    user: UserId,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<ApiKey>, sqlx::Error> {
    let tenant = tx.tenant();
    let (at, id) = after.map(|cursor| (cursor.at, cursor.id)).unzip();
    sqlx::query_as!(
        ApiKey,
        r#"select api_key_id as "id: ApiKeyId", user_id as "user_id: UserId", name, prefix, scopes, expires_at,
                  last_used_at, revoked_at, created_at
           from gateway.api_key
           where tenant_id = $1 and user_id = $2
             and ($3::timestamptz is null or (created_at, api_key_id) < ($3, $4::uuid))
           order by created_at desc, api_key_id desc limit $5"#,
        tenant as _,
        user as _,
        at,
        id as Option<Uuid>,
        limit + 1,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Whose a key of the tenant is.
pub(crate) async fn find_user(
    tx: &mut TenantTx,
    id: ApiKeyId,
) -> Result<Option<UserId>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"select user_id as "user_id: UserId" from gateway.api_key where tenant_id = $1 and api_key_id = $2"#,
        tenant as _,
        id as _,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// Ends a key for good; says whether it was good until now.
pub(crate) async fn revoke(tx: &mut TenantTx, id: ApiKeyId) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update gateway.api_key set revoked_at = now()
         where tenant_id = $1 and api_key_id = $2 and revoked_at is null",
        tenant as _,
        id as _,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected() > 0)
}

/// Ends all keys of a user who leaves the tenant.
pub(crate) async fn revoke_all_of(tx: &mut TenantTx, user: UserId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update gateway.api_key set revoked_at = now()
         where tenant_id = $1 and user_id = $2 and revoked_at is null",
        tenant as _,
        user as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Who is behind a key that is good now, and what it allows; notes that it was used, at most once a minute.
pub(crate) async fn resolve(
    tx: &mut SystemTx,
    hash: KeyHash,
) -> Result<Option<Identity>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select k.api_key_id as "key: ApiKeyId", k.tenant_id as "tenant: TenantId", k.user_id as "user: UserId",
                  m.role, m.can_view_payloads, k.scopes,
                  k.last_used_at is null or k.last_used_at < now() - interval '1 minute' as "unnoted!",
                  exists (select from gateway.platform_admin p where p.user_id = k.user_id) as "platform_admin!",
                  array(select t.team_id from gateway.team_member t
                        where t.tenant_id = k.tenant_id and t.user_id = k.user_id order by t.team_id)
                      as "teams!: Vec<Uuid>"
           from gateway.api_key k
           join gateway.membership m on m.tenant_id = k.tenant_id and m.user_id = k.user_id
           join gateway.app_user u on u.user_id = k.user_id and u.status = 'active'
           join gateway.tenant t on t.tenant_id = k.tenant_id and t.status = 'active'
           where k.hash = $1 and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())"#,
        hash.0.as_slice(),
    )
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    if row.unnoted {
        note_use(tx, row.key).await?;
    }
    let role = row.role.parse().map_err(unknown)?;
    Ok(Some(Identity {
        key: row.key,
        tenant: row.tenant,
        user: row.user,
        teams: row.teams.into_iter().map(TeamId::from).collect(),
        role,
        scopes: effective_scopes(role, row.platform_admin, row.scopes.as_deref()),
        payloads: row.can_view_payloads,
    }))
}

/// Not worth waiting for: whoever holds the row is noting the same.
async fn note_use(tx: &mut SystemTx, key: ApiKeyId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update gateway.api_key set last_used_at = now()
         where api_key_id in (select api_key_id from gateway.api_key where api_key_id = $1
                              for no key update skip locked)",
        key as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Whether a key goes as far as its user's role, without limits of its own.
pub(crate) async fn is_unlimited(tx: &mut TenantTx, id: ApiKeyId) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    let unlimited = sqlx::query_scalar!(
        r#"select scopes is null as "unlimited!" from gateway.api_key where tenant_id = $1 and api_key_id = $2"#,
        tenant as _,
        id as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(unlimited.unwrap_or(false))
}
