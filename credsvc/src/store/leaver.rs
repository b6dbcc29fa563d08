//! What was a user's own who has left: given out no more, and its provider is told for as long as that takes.

use chrono::{DateTime, Utc};
use dbutil::{SystemTx, TenantTx};
use shared_models::{CredentialId, TenantId, UserId};

/// Revokes what was a user's own at that time, and has the providers of connections told. What the user began later, after
/// coming back, stays. Gives those that were not revoked before.
pub(crate) async fn revoke(
    tx: &mut TenantTx,
    user: UserId,
    reason: &str,
    until: DateTime<Utc>,
) -> Result<Vec<CredentialId>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"update credsvc.credential
           set health = 'revoked', health_reason = $3, revision = revision + 1, updated_at = now(),
               refresh_due_at = null, tell_tries = 0,
               tell_due_at = case when provider_config_id is null then null else now() end
           where tenant_id = $1 and user_id = $2 and health <> 'revoked' and deleted_at is null
             and coalesce(begun_at, created_at) <= $4
           returning credential_id as "id: CredentialId""#,
        tenant as _,
        user as _,
        reason,
        until,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Connections whose providers are to be told now, longest first.
pub(crate) async fn due(
    tx: &mut SystemTx,
    limit: i64,
) -> Result<Vec<(TenantId, CredentialId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select tenant_id as "tenant_id: TenantId", credential_id as "credential_id: CredentialId"
           from credsvc.credential
           where tell_due_at <= now() and health = 'revoked' and deleted_at is null
           order by tell_due_at limit $1"#,
        limit,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.tenant_id, row.credential_id)).collect())
}

/// Takes it on to tell a provider: nobody else does for half a minute, and for twice as long after each time. Says how often
/// that was tried, with this time; nothing when there is nothing to tell now.
pub(crate) async fn take_on(
    tx: &mut TenantTx,
    id: CredentialId,
) -> Result<Option<i32>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        "update credsvc.credential
         set tell_tries = tell_tries + 1,
             tell_due_at = clock_timestamp() + make_interval(secs => 30 * 2 ^ least(tell_tries, 7))
         where tenant_id = $1 and credential_id = $2 and tell_due_at <= clock_timestamp()
           and health = 'revoked' and deleted_at is null
         returning tell_tries",
        tenant as _,
        id as _,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// There is nothing to tell any more; says whether there was.
pub(crate) async fn told(tx: &mut TenantTx, id: CredentialId) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update credsvc.credential set tell_due_at = null
         where tenant_id = $1 and credential_id = $2 and tell_due_at is not null",
        tenant as _,
        id as _,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected() == 1)
}
