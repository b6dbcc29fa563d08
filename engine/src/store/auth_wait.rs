//! Which runs wait for which credential to be connected again.

use chrono::{DateTime, Utc};
use dbutil::{Db, TenantTx};
use serde::Serialize;
use shared_models::{CredentialId, RunId, TenantId};
use sqlx::types::Uuid;
use std::time::Duration;
use utoipa::ToSchema;

use crate::clients::credsvc::Needed;

/// A credential that a run waits for.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AuthWait {
    /// To be connected again by whoever owns it: `POST /v1/connect_sessions` with this id.
    pub(crate) credential_id: CredentialId,
    /// What is wrong with it.
    pub(crate) reason: String,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    pub(crate) since_at: DateTime<Utc>,
}

/// Says what a run waits for; what it waited for before is forgotten.
pub(crate) async fn replace(
    tx: &mut TenantTx,
    run: RunId,
    needs: &[Needed],
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    let credentials: Vec<Uuid> = needs.iter().map(|needed| needed.credential_id.uuid()).collect();
    let reasons: Vec<String> = needs.iter().map(|needed| needed.reason.clone()).collect();
    sqlx::query!(
        "delete from engine.auth_wait
         where tenant_id = $1 and run_id = $2 and credential_id <> all ($3::uuid[])",
        tenant as _,
        run as _,
        &credentials,
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!(
        "insert into engine.auth_wait (tenant_id, run_id, credential_id, reason)
         select $1, $2, credential_id, reason
         from unnest($3::uuid[], $4::text[]) as needed (credential_id, reason)
         on conflict (run_id, credential_id) do update set reason = excluded.reason",
        tenant as _,
        run as _,
        &credentials,
        &reasons,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// What a run waits for.
pub(crate) async fn of_run(tx: &mut TenantTx, run: RunId) -> Result<Vec<AuthWait>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        AuthWait,
        r#"select credential_id as "credential_id: CredentialId", reason, since_at
           from engine.auth_wait where tenant_id = $1 and run_id = $2
           order by since_at, credential_id"#,
        tenant as _,
        run as _,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Tells the runs at work of which a part waits for a credential, each once. One whose row somebody has in hand is left out:
/// it is being told, or written anew by its owner, who looks once more then.
pub(crate) async fn tell(
    tx: &mut TenantTx,
    credential: CredentialId,
) -> Result<Vec<RunId>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"with held as materialized (
               select w.run_id
               from engine.auth_wait w join engine.run r on r.run_id = w.run_id and r.tenant_id = w.tenant_id
               where w.tenant_id = $1 and w.credential_id = $2 and r.status = 'running'
               order by w.run_id for update of w skip locked
           ), done as (
               delete from engine.auth_wait
               where tenant_id = $1 and credential_id = $2 and run_id in (select run_id from held)
           )
           insert into engine.run_signal (run_id, tenant_id, signal)
           select run_id, $1, jsonb_build_object('signal', 'connected', 'credential_id', $2::uuid) from held
           returning run_id as "run: RunId""#,
        tenant as _,
        credential as _,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Queues the runs that wait for a credential. One that is not at rest yet keeps its row: it looks once more when it is. So
/// does one that somebody else has in hand: the next sweep sees to it.
pub(crate) async fn wake(
    tx: &mut TenantTx,
    credential: CredentialId,
) -> Result<Vec<RunId>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"with held as materialized (
               select r.run_id
               from engine.auth_wait w join engine.run r on r.run_id = w.run_id and r.tenant_id = w.tenant_id
               where w.tenant_id = $1 and w.credential_id = $2 and r.status = 'waiting'
               order by r.run_id for update of r skip locked
           ), woken as (
               update engine.run set status = 'queued', wait_reason = null, queued_at = now()
               where tenant_id = $1 and run_id in (select run_id from held)
               returning run_id
           ), done as (
               delete from engine.auth_wait where (run_id, credential_id) in (
                   select run_id, credential_id from engine.auth_wait
                   where tenant_id = $1 and run_id in (select run_id from woken) for update skip locked)
           )
           select run_id as "run: RunId" from woken"#,
        tenant as _,
        credential as _,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Credentials that nobody has asked about for a while; each is asked about by one process.
pub(crate) async fn due(
    db: &Db,
    pause: Duration,
    most: i64,
) -> Result<Vec<(TenantId, CredentialId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"update engine.auth_wait w set looked_at = now()
           from (select run_id, credential_id from engine.auth_wait
                 where looked_at <= now() - make_interval(secs => $1)
                 order by looked_at limit $2 for update skip locked) due
           where w.run_id = due.run_id and w.credential_id = due.credential_id
           returning w.tenant_id as "tenant: TenantId", w.credential_id as "credential: CredentialId""#,
        pause.as_secs_f64(),
        most,
    )
    .fetch_all(db.system_pool())
    .await?;
    let mut due: Vec<_> = rows.into_iter().map(|row| (row.tenant, row.credential)).collect();
    due.sort_by_key(|(tenant, credential)| (tenant.uuid(), credential.uuid()));
    due.dedup();
    Ok(due)
}

/// Forgets what runs waited for that have ended since.
pub(crate) async fn forget_ended(db: &Db) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from engine.auth_wait w using engine.run r
         where r.run_id = w.run_id and r.finished_at is not null",
    )
    .execute(db.system_pool())
    .await
    .map(drop)
}
