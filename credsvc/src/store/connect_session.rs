//! Links by which accounts are connected. Opened by whoever has the link, so they are found before their tenant is known.

use chrono::{DateTime, Utc};
use dbutil::{SystemTx, TenantTx};
use serde_json::Value;
use shared_models::{ConnectSessionId, CredentialId, ProviderConfigId, TenantId, UserId};
use sqlx::PgConnection;

use super::credential::Environment;

/// A session as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct ConnectSession {
    pub(crate) id: ConnectSessionId,
    pub(crate) tenant_id: TenantId,
    pub(crate) provider_config_id: ProviderConfigId,
    pub(crate) credential_id: Option<CredentialId>,
    pub(crate) user_id: Option<UserId>,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) environment: Environment,
    pub(crate) meta: Value,
    pub(crate) scopes: Vec<String>,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) return_url: Option<String>,
    pub(crate) link_hash: Vec<u8>,
    pub(crate) state_hash: Option<Vec<u8>>,
    pub(crate) browser_hash: Option<Vec<u8>>,
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    pub(crate) created_by: UserId,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) live: bool,
}

/// Adds a session that lives so many seconds; says until when.
pub(crate) async fn insert(
    tx: &mut TenantTx,
    new: &ConnectSession,
    seconds: f64,
) -> Result<DateTime<Utc>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        "insert into credsvc.connect_session (connect_session_id, tenant_id, provider_config_id, credential_id,
             user_id, type, name, environment, meta, scopes, allowed_hosts, return_url, link_hash, created_by,
             expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, now() + make_interval(secs => $15))
         returning expires_at",
        new.id as _,
        tenant as _,
        new.provider_config_id as _,
        new.credential_id as _,
        new.user_id as _,
        new.kind,
        new.name,
        new.environment as _,
        new.meta,
        &new.scopes,
        &new.allowed_hosts,
        new.return_url.as_deref(),
        new.link_hash,
        new.created_by as _,
        seconds,
    )
    .fetch_one(&mut **tx)
    .await
}

/// A session of whatever tenant; for who has its link or its state, which are compared by the caller.
pub(crate) async fn find_any(
    tx: &mut SystemTx,
    id: ConnectSessionId,
) -> Result<Option<ConnectSession>, sqlx::Error> {
    select(tx, id, None).await
}

/// A session of the tenant's.
pub(crate) async fn find(
    tx: &mut TenantTx,
    id: ConnectSessionId,
) -> Result<Option<ConnectSession>, sqlx::Error> {
    let tenant = tx.tenant();
    select(tx, id, Some(tenant)).await
}

async fn select(
    connection: &mut PgConnection,
    id: ConnectSessionId,
    tenant: Option<TenantId>,
) -> Result<Option<ConnectSession>, sqlx::Error> {
    sqlx::query_as!(
        ConnectSession,
        r#"select connect_session_id as "id: ConnectSessionId", tenant_id as "tenant_id: TenantId",
               provider_config_id as "provider_config_id: ProviderConfigId",
               credential_id as "credential_id: CredentialId", user_id as "user_id: UserId", type as kind, name,
               environment as "environment: Environment", meta, scopes, allowed_hosts, return_url, link_hash,
               state_hash, browser_hash, status, reason, created_by as "created_by: UserId", created_at, expires_at,
               expires_at > now() as "live!"
           from credsvc.connect_session
           where connect_session_id = $1 and ($2::uuid is null or tenant_id = $2)"#,
        id as _,
        tenant as _,
    )
    .fetch_optional(connection)
    .await
}

/// Notes that the link was opened, by which browser and with which state; opening it again makes the older state
/// worthless. Says whether the session can still be used.
pub(crate) async fn open(
    tx: &mut TenantTx,
    id: ConnectSessionId,
    state: &[u8],
    browser: &[u8],
) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update credsvc.connect_session set status = 'opened', state_hash = $3, browser_hash = $4
         where tenant_id = $1 and connect_session_id = $2 and status in ('pending', 'opened')
           and expires_at > now()",
        tenant as _,
        id as _,
        state,
        browser,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected() == 1)
}

/// Takes the state, which is good once; says whether it was still there.
pub(crate) async fn take(
    tx: &mut TenantTx,
    id: ConnectSessionId,
    state: &[u8],
) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update credsvc.connect_session set status = 'exchanging', state_hash = null
         where tenant_id = $1 and connect_session_id = $2 and status = 'opened' and state_hash = $3
           and expires_at > now()",
        tenant as _,
        id as _,
        state,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected() == 1)
}

/// Keeps a session whose state was taken from being ended by anybody else until the transaction ends; says whether nobody
/// has yet. Before any credential: who ends the sessions of a user goes on to their credentials, and sees what this made.
pub(crate) async fn hold(tx: &mut TenantTx, id: ConnectSessionId) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    let found = sqlx::query!(
        "select connect_session_id from credsvc.connect_session
         where tenant_id = $1 and connect_session_id = $2 and status = 'exchanging' for update",
        tenant as _,
        id as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(found.is_some())
}

/// Ends what a user had begun until then, or what was begun for them.
pub(crate) async fn end_of_user(
    tx: &mut TenantTx,
    user: UserId,
    reason: &str,
    until: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update credsvc.connect_session set status = 'failed', reason = $3, state_hash = null
         where tenant_id = $1 and (user_id = $2 or created_by = $2) and created_at <= $4
           and status in ('pending', 'opened', 'exchanging')",
        tenant as _,
        user as _,
        reason,
        until,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Notes how it ended, unless somebody else has ended it.
pub(crate) async fn end(
    tx: &mut TenantTx,
    id: ConnectSessionId,
    ended: Result<CredentialId, &str>,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    let status = if ended.is_ok() { "connected" } else { "failed" };
    sqlx::query!(
        "update credsvc.connect_session set status = $3, credential_id = coalesce($4, credential_id), reason = $5
         where tenant_id = $1 and connect_session_id = $2 and status = 'exchanging'",
        tenant as _,
        id as _,
        status,
        ended.ok() as _,
        ended.err(),
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Forgets sessions that ended a day ago; says how many.
pub(crate) async fn tidy(tx: &mut SystemTx, limit: i64) -> Result<u64, sqlx::Error> {
    sqlx::query!(
        "delete from credsvc.connect_session where connect_session_id in (
             select connect_session_id from credsvc.connect_session
             where expires_at < now() - interval '1 day' limit $1 for update skip locked)",
        limit,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected())
}
