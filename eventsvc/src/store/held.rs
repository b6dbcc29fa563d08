//! The sources that a replica listens to.

use dbutil::SystemTx;
use shared_models::{CredentialId, SourceId, TenantId};
use uuid::Uuid;

use super::lease::Claimed;

/// What this replica holds of a system and has something to look for, unless it shall not be idled at, or rests as it is now:
/// one of each tenant first, then a second one of each, up to the limit.
pub(crate) async fn of_system(
    tx: &mut SystemTx,
    replica: Uuid,
    system: &str,
    resting: &[&Claimed],
    limit: i64,
) -> Result<Vec<Claimed>, sqlx::Error> {
    let credentials: Vec<Option<Uuid>> =
        resting.iter().map(|source| source.credential_id.map(CredentialId::uuid)).collect();
    sqlx::query_as!(
        Claimed,
        r#"select l.source_id as "source_id: SourceId", l.tenant_id as "tenant_id: TenantId", l.epoch, s.system, s.options,
                  s.credential_id as "credential_id: CredentialId", null::jsonb as "position?", l.failures,
                  false as "rung!", null::timestamptz as "looking_since?"
           from eventsvc.source_lease l join eventsvc.source s on s.source_id = l.source_id
           where l.owner = $1 and l.until_at >= eventsvc.db_now() and s.system = $2
             and s.options->>'idle' is distinct from 'false'
             and not exists (
                 select from unnest($4::uuid[], $5::int8[], $6::uuid[], $7::jsonb[])
                     as r(source_id, epoch, credential_id, options)
                 where r.source_id = l.source_id and r.epoch = l.epoch and r.options = s.options
                   and r.credential_id is not distinct from s.credential_id)
             and exists (
                 select from eventsvc.trigger t
                 where t.source_id = l.source_id and t.deleted_at is null and t.active
                   and not exists (
                       select from eventsvc.system_pause p where p.tenant_id = t.tenant_id and p.system = t.system))
           order by row_number() over (partition by l.tenant_id order by l.source_id), l.source_id limit $3"#,
        replica,
        system,
        limit,
        &resting.iter().map(|source| source.source_id.uuid()).collect::<Vec<_>>(),
        &resting.iter().map(|source| source.epoch).collect::<Vec<_>>(),
        &credentials as _,
        &resting.iter().map(|source| source.options.clone()).collect::<Vec<_>>(),
    )
    .fetch_all(&mut **tx)
    .await
}
