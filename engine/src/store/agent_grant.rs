//! What agents were granted, as far as that may have to be taken back.

use dbutil::{Db, TenantTx};
use shared_models::{AgentId, CredentialId, TenantId};

/// Notes that an agent is about to be granted a credential; says no while it is being taken back.
pub(crate) async fn note(
    tx: &mut TenantTx,
    agent: AgentId,
    credential: CredentialId,
) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into engine.agent_grant as known (agent_id, credential_id, tenant_id, credential)
         values ($1, $2, $3, $4)
         on conflict (agent_id, credential_id) do update set asked_at = now()
         where not known.taken_back and known.tenant_id = $3",
        agent as _,
        credential as _,
        tenant as _,
        credential.to_string(),
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected() == 1)
}

/// Looks at the grants that were not looked at for longest, and gives those that must be taken back: no tool and no model
/// of the agent uses the credential, and neither does a run under way. One that somebody asked for a moment ago is left
/// alone, because its use may not be saved yet.
pub(crate) async fn take_back(
    db: &Db,
    limit: i64,
) -> Result<Vec<(TenantId, AgentId, CredentialId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"with looked as (
               select agent_id, credential_id from engine.agent_grant
               where taken_back or asked_at < now() - interval '1 minute'
               order by taken_back desc, checked_at limit $1
               for update skip locked)
           update engine.agent_grant g
           set checked_at = now(), taken_back = g.taken_back or not (
               exists (
                   select from engine.agent_tool l
                   where l.agent_id = g.agent_id and l.tenant_id = g.tenant_id and l.credential_id = g.credential_id
                     and exists (select from engine.agent a where a.agent_id = g.agent_id and a.deleted_at is null))
               or exists (
                   select from engine.agent a
                   join engine.agent_version v on v.agent_id = a.agent_id and v.version = a.version
                   where a.agent_id = g.agent_id and a.tenant_id = g.tenant_id and a.deleted_at is null
                     and v.definition ->> 'model_credential_id' = g.credential)
               or exists (
                   select from engine.run r
                   join engine.run_snapshot s on s.run_id = r.run_id and s.tenant_id = r.tenant_id
                   where r.agent_id = g.agent_id and r.tenant_id = g.tenant_id
                     and r.status in ('queued', 'running', 'waiting', 'paused')
                     and (s.snapshot ->> 'model_credential' = g.credential
                       or s.snapshot -> 'tools'
                          @> jsonb_build_array(jsonb_build_object('credential_id', g.credential)))))
           from looked
           where g.agent_id = looked.agent_id and g.credential_id = looked.credential_id
           returning g.tenant_id as "tenant: TenantId", g.agent_id as "agent: AgentId",
               g.credential_id as "credential: CredentialId", g.taken_back"#,
        limit,
    )
    .fetch_all(db.system_pool())
    .await?;
    let due = rows.into_iter().filter(|row| row.taken_back);
    Ok(due.map(|row| (row.tenant, row.agent, row.credential)).collect())
}

/// Notes that a grant has been taken back: it may be asked for again.
pub(crate) async fn taken_back(
    tx: &mut TenantTx,
    agent: AgentId,
    credential: CredentialId,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "delete from engine.agent_grant
         where tenant_id = $1 and agent_id = $2 and credential_id = $3 and taken_back",
        tenant as _,
        agent as _,
        credential as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}
