//! The renewal of access tokens, and the health of credentials: who holds the lease, what came of it.
//!
//! A lease is held in the row, not by a transaction: no provider is called inside of one. Times are the database's.

use dbutil::{SystemTx, TenantTx};
use serde_json::Value;
use shared_models::{CredentialId, TenantId, UserId};

use super::credential::{Connection, Credential, Health};
use crate::vault::Sealed;

/// Takes the lease on renewing `version` for so many seconds. Gives the fence, or nothing when somebody else holds it or
/// there is nothing to renew any more.
pub(crate) async fn claim(
    tx: &mut TenantTx,
    id: CredentialId,
    version: i32,
    seconds: f64,
) -> Result<Option<i64>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        "update credsvc.credential
         set refresh_lease_until = clock_timestamp() + make_interval(secs => $4),
             refresh_fence = refresh_fence + 1
         where tenant_id = $1 and credential_id = $2 and version = $3 and deleted_at is null
           and health not in ('revoked', 'needs_reconnect')
           and (refresh_lease_until is null or refresh_lease_until < clock_timestamp())
           and (refresh_failures = 0 or refresh_due_at is null or refresh_due_at <= clock_timestamp())
         returning refresh_fence",
        tenant as _,
        id as _,
        version,
        seconds,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// How far a renewal that somebody else does has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) version: i32,
    pub(crate) failures: i32,
    pub(crate) health: Health,
    /// Whether its provider is left alone for a while.
    pub(crate) cooling: bool,
}

/// Looks at it; nothing when the credential is gone.
pub(crate) async fn progress(
    tx: &mut TenantTx,
    id: CredentialId,
) -> Result<Option<Progress>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Progress,
        r#"select version, refresh_failures as failures, health as "health: Health",
               refresh_failures > 0 and coalesce(refresh_due_at > clock_timestamp(), false) as "cooling!"
           from credsvc.credential
           where tenant_id = $1 and credential_id = $2 and deleted_at is null"#,
        tenant as _,
        id as _,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// How a connection came by a new token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// It was renewed, which never brings a revoked one back.
    Renewed,
    /// Somebody connected it again, which does.
    Reconnected,
}

impl Settled {
    /// Whether a connection that was like this is well again.
    pub(crate) fn heals(self, before: Health) -> bool {
        match before {
            Health::NeedsReconnect | Health::FailedTest => true,
            Health::Revoked => self == Self::Reconnected,
            Health::Ok | Health::Expiring | Health::Expired => false,
        }
    }
}

/// Stores a renewed secret, if nobody has stored another since `from`; says how it was until now if it did. Asks for no
/// fence: whoever has a good token has the newest there is, and dropping it would lose the connection. For a transaction
/// of [`crate::keys::Keys::begin`].
pub(crate) async fn settle(
    tx: &mut TenantTx,
    from: &Credential,
    sealed: &Sealed,
    mask: &Value,
    connection: &Connection,
    how: Settled,
) -> Result<Option<Health>, sqlx::Error> {
    let tenant = tx.tenant();
    // Somebody may have given it up since `from` was read.
    let before = sqlx::query_scalar!(
        r#"select health as "health: Health" from credsvc.credential
           where tenant_id = $1 and credential_id = $2 and deleted_at is null for no key update"#,
        tenant as _,
        from.id as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    let done = sqlx::query!(
        "update credsvc.credential
         set version = version + 1, revision = revision + 1, updated_at = now(), refreshed_at = now(),
             sealed = $4, data_key = $5, tenant_key_version = $6, mask = $7,
             token_expires_at = now() + make_interval(secs => $8),
             refresh_due_at = now() + make_interval(secs => $9),
             scopes = $10, account = coalesce($11, account),
             provider_config_id = coalesce($12, provider_config_id),
             refresh_lease_until = null, refresh_failures = 0,
             health = case when health in ('needs_reconnect', 'failed_test', 'revoked') then 'ok' else health end,
             health_reason = null, begun_at = coalesce($14, begun_at),
             tell_due_at = case when $13 then null else tell_due_at end
         where tenant_id = $1 and credential_id = $2 and version = $3 and deleted_at is null
           and (health <> 'revoked' or $13)",
        tenant as _,
        from.id as _,
        from.version,
        sealed.secret,
        sealed.data_key,
        sealed.tenant_key_version,
        mask,
        connection.lives,
        connection.renew_in,
        &connection.scopes,
        connection.account.as_deref(),
        connection.provider_config_id as _,
        how == Settled::Reconnected,
        connection.begun_at,
    )
    .execute(&mut **tx)
    .await?;
    Ok(before.filter(|_| done.rows_affected() == 1))
}

/// Notes that the provider did not answer well, and keeps everybody off it for a while. Counts nothing for a holder whose
/// lease somebody else has taken over.
pub(crate) async fn put_off(
    tx: &mut TenantTx,
    from: &Credential,
    fence: i64,
    reason: &str,
    seconds: f64,
) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update credsvc.credential
         set refresh_failures = refresh_failures + 1, health_reason = $5,
             refresh_lease_until = null, refresh_due_at = clock_timestamp() + make_interval(secs => $6)
         where tenant_id = $1 and credential_id = $2 and version = $3 and refresh_fence = $4",
        tenant as _,
        from.id as _,
        from.version,
        fence,
        reason,
        seconds,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected() == 1)
}

/// Marks a connection whose provider will not renew it; only by the holder of the lease. Says whether it did.
pub(crate) async fn give_up(
    tx: &mut TenantTx,
    from: &Credential,
    fence: i64,
    reason: &str,
) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update credsvc.credential
         set health = 'needs_reconnect', health_reason = $5, refresh_lease_until = null, refresh_due_at = null,
             revision = revision + 1, updated_at = now()
         where tenant_id = $1 and credential_id = $2 and version = $3 and refresh_fence = $4
           and health not in ('revoked', 'needs_reconnect')",
        tenant as _,
        from.id as _,
        from.version,
        fence,
        reason,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected() == 1)
}

/// Sets the health of a live credential that is at `from`; says whether it did.
pub(crate) async fn set_health(
    tx: &mut TenantTx,
    id: CredentialId,
    from: &[Health],
    to: Health,
    reason: Option<&str>,
) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    let from: Vec<String> = from.iter().map(|health| health.as_str().to_owned()).collect();
    sqlx::query!(
        "update credsvc.credential
         set health = $4, health_reason = $5, revision = revision + 1, updated_at = now(),
             refresh_due_at = case when $4 = 'revoked' then null else refresh_due_at end
         where tenant_id = $1 and credential_id = $2 and health = any($3) and health <> $4
           and deleted_at is null",
        tenant as _,
        id as _,
        &from,
        to as _,
        reason,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected() == 1)
}

/// Keeps what came of a test.
pub(crate) async fn set_tested(
    tx: &mut TenantTx,
    id: CredentialId,
    tested: &Value,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update credsvc.credential set tested = $3
         where tenant_id = $1 and credential_id = $2 and deleted_at is null",
        tenant as _,
        id as _,
        tested,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Connections whose time for a renewal has come, longest first, with the version that is to be renewed.
pub(crate) async fn due(
    tx: &mut SystemTx,
    limit: i64,
) -> Result<Vec<(TenantId, CredentialId, i32)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select tenant_id as "tenant_id: TenantId", credential_id as "credential_id: CredentialId", version
           from credsvc.credential
           where refresh_due_at <= now() and deleted_at is null
             and health not in ('revoked', 'needs_reconnect')
             and (refresh_lease_until is null or refresh_lease_until < now())
           order by refresh_due_at limit $1"#,
        limit,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.tenant_id, row.credential_id, row.version)).collect())
}

/// Credentials whose health does not say what their expiry does.
pub(crate) async fn outdated(
    tx: &mut SystemTx,
    limit: i64,
) -> Result<Vec<(TenantId, CredentialId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select tenant_id as "tenant_id: TenantId", credential_id as "credential_id: CredentialId"
           from credsvc.credential
           where deleted_at is null and expires_at is not null
             and ((expires_at <= now() and health in ('ok', 'expiring', 'failed_test'))
               or (expires_at > now() and expires_at <= now() + interval '7 days' and health in ('ok', 'expired'))
               or (expires_at > now() + interval '7 days' and health in ('expiring', 'expired')))
           order by expires_at limit $1"#,
        limit,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.tenant_id, row.credential_id)).collect())
}

/// Makes a credential's health say what its expiry does; gives what it is now and whose it is, when that changed. One
/// whose expiry was taken away is well again.
pub(crate) async fn follow_expiry(
    tx: &mut TenantTx,
    id: CredentialId,
) -> Result<Option<(Health, Option<UserId>)>, sqlx::Error> {
    let tenant = tx.tenant();
    let row = sqlx::query!(
        r#"update credsvc.credential
           set revision = revision + 1, health_reason = null, health = case
               when expires_at <= now() then 'expired'
               when expires_at <= now() + interval '7 days' then 'expiring'
               else 'ok' end
           where tenant_id = $1 and credential_id = $2 and deleted_at is null
             and health in ('ok', 'expiring', 'expired', 'failed_test')
             and health <> case
               when expires_at <= now() then 'expired'
               when health = 'failed_test' then 'failed_test'
               when expires_at <= now() + interval '7 days' then 'expiring'
               else 'ok' end
           returning health as "health: Health", user_id as "user_id: UserId""#,
        tenant as _,
        id as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(|row| (row.health, row.user_id)))
}
