//! Which swarm stands above which.
//!
//! Whoever changes that holds the tenant's lock until the end of the transaction, so two changes that would only together
//! make a circle do not miss each other.

use dbutil::TenantTx;
use shared_models::SwarmId;
use sqlx::types::Uuid;

use crate::{error::Error, swarm::SwarmFields};

/// Any number will do, as long as it is this one alone.
const LOCK: i32 = 0x0053_574d;

/// Makes the other changes of the tenant's hierarchy wait until this transaction ends. Taken before rows are looked at.
pub(crate) async fn hold(tx: &mut TenantTx) -> Result<(), sqlx::Error> {
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

/// Writes down what stands above and below a swarm by its definition; refuses a circle.
pub(super) async fn put(
    tx: &mut TenantTx,
    swarm_id: SwarmId,
    fields: &SwarmFields,
) -> Result<(), Error> {
    let tenant = tx.tenant();
    let nested: Vec<Uuid> = fields.nested().iter().map(|id| id.uuid()).collect();
    sqlx::query!(
        "delete from engine.swarm_edge
         where tenant_id = $1 and ((below_id = $2 and kind = 'parent') or (above_id = $2 and kind = 'member'))",
        tenant as _,
        swarm_id as _,
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!(
        "insert into engine.swarm_edge (tenant_id, above_id, below_id, kind)
         select $1::uuid, $3::uuid, $2::uuid, 'parent' where $3 is not null
         union all
         select $1, $2, below, 'member' from unnest($4::uuid[]) below",
        tenant as _,
        swarm_id as _,
        fields.parent_swarm_id as Option<SwarmId>,
        &nested,
    )
    .execute(&mut **tx)
    .await?;
    if stands_above_itself(tx, swarm_id).await? { Err(Error::SwarmCycle) } else { Ok(()) }
}

async fn stands_above_itself(tx: &mut TenantTx, swarm_id: SwarmId) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"with recursive below as (
               select e.below_id from engine.swarm_edge e where e.tenant_id = $1 and e.above_id = $2
               union
               select e.below_id from engine.swarm_edge e join below b on e.above_id = b.below_id
               where e.tenant_id = $1)
           select exists (select from below where below_id = $2) as "circle!""#,
        tenant as _,
        swarm_id as _,
    )
    .fetch_one(&mut **tx)
    .await
}

/// The name of a swarm that has this one as a member.
pub(crate) async fn user(
    tx: &mut TenantTx,
    swarm_id: SwarmId,
) -> Result<Option<String>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        "select s.name from engine.swarm_edge e
         join engine.swarm s on s.swarm_id = e.above_id and s.tenant_id = e.tenant_id
         where e.tenant_id = $1 and e.below_id = $2 and e.kind = 'member' and s.deleted_at is null
         order by s.name limit 1",
        tenant as _,
        swarm_id as _,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// Forgets where a swarm that is gone stood.
pub(super) async fn clear(tx: &mut TenantTx, swarm_id: SwarmId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "delete from engine.swarm_edge where tenant_id = $1 and (above_id = $2 or below_id = $2)",
        tenant as _,
        swarm_id as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}
