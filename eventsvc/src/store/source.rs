//! Sources: what triggers with the same credential and options have in common.

use dbutil::TenantTx;
use serde_json::Value;
use shared_models::{CredentialId, SourceId, TriggerId};

/// What identifies a source.
pub(crate) struct Key<'a> {
    pub system: &'a str,
    pub credential_id: Option<CredentialId>,
    pub options: &'a Value,
    pub options_key: &'a str,
}

/// Any number will do, as long as it is this one alone.
const LOCK: i32 = 0x0053_5243;

/// Makes the other saves of the tenant wait until this transaction ends: which source there is decides which one is made or
/// changed, and who leaves one for another may meet somebody who goes the other way.
async fn hold(tx: &mut TenantTx) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "select pg_advisory_xact_lock($1, hashtext($2::text))::text as held",
        LOCK,
        tenant.to_string(),
    )
    .fetch_one(&mut **tx)
    .await
    .map(drop)
}

/// The source with this key; made when there is none.
pub(crate) async fn join(tx: &mut TenantTx, key: &Key<'_>) -> Result<SourceId, sqlx::Error> {
    hold(tx).await?;
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"insert into eventsvc.source (source_id, tenant_id, system, credential_id, options, options_key)
           values ($1, $2, $3, $4, $5, $6)
           on conflict on constraint source_key do update set updated_at = now()
           returning source_id as "id: SourceId""#,
        SourceId::mint() as _,
        tenant as _,
        key.system,
        key.credential_id as _,
        key.options,
        key.options_key,
    )
    .fetch_one(&mut **tx)
    .await
}

/// Changes a source in place when nobody else listens to it and no other has the new key, so that what it has already
/// seen is still known. Says whether it did.
///
/// The source is locked first, so that what is asked next sees a trigger that joined it and whose commit was waited for.
pub(crate) async fn change(
    tx: &mut TenantTx,
    source: SourceId,
    only: TriggerId,
    key: &Key<'_>,
) -> Result<bool, sqlx::Error> {
    hold(tx).await?;
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        "select source_id from eventsvc.source where tenant_id = $1 and source_id = $2 for update",
        tenant as _,
        source as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    let done = sqlx::query!(
        r#"update eventsvc.source s
           set credential_id = $4, options = $5, options_key = $6, updated_at = now()
           where s.tenant_id = $1 and s.source_id = $2
             and not exists (
                 select from eventsvc.trigger t
                 where t.tenant_id = $1 and t.source_id = $2 and t.trigger_id <> $3 and t.deleted_at is null)
             and not exists (
                 select from eventsvc.source o
                 where o.tenant_id = $1 and o.source_id <> $2 and o.system = s.system
                   and o.credential_id is not distinct from $4 and o.options_key = $6)"#,
        tenant as _,
        source as _,
        only as _,
        key.credential_id as _,
        key.options,
        key.options_key,
    )
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}
