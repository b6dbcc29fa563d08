//! `Idempotency-Key`: the answer to a POST is stored in the transaction that did the work, for 24 hours.

use serde_json::Value;
use sha2::{Digest, Sha256};
use shared_models::TenantId;
use sqlx::PgConnection;

use crate::{SystemTx, TenantTx};

/// What identifies a repeated request.
#[derive(Clone, Debug)]
pub struct Key<'a> {
    /// Who asks: one person's keys never meet another's.
    pub principal: &'a str,
    /// Method and route.
    pub route: &'a str,
    /// The header's value.
    pub key: &'a str,
    /// SHA-256 of the body.
    pub body_hash: [u8; 32],
}

/// What is known about a key.
#[derive(Debug, PartialEq)]
pub enum Known {
    /// Never seen: do the work, then [`remember`].
    Fresh,
    /// Done before: give this answer again.
    Stored {
        /// The HTTP status that was answered.
        status: u16,
        /// The body that was answered.
        answer: Value,
    },
    /// Seen with another body.
    OtherBody,
    /// Being worked on right now.
    InFlight,
}

/// Looks a key up and, when it is fresh, holds it until the transaction ends.
pub async fn begin(tx: &mut TenantTx, key: &Key<'_>) -> Result<Known, sqlx::Error> {
    let tenant = tx.tenant();
    look_up(tx, tenant, key).await
}

/// The same for work that is nobody's in particular: the key is remembered for the tenant of whoever asks.
pub async fn begin_across(
    tx: &mut SystemTx,
    asker: TenantId,
    key: &Key<'_>,
) -> Result<Known, sqlx::Error> {
    look_up(tx, asker, key).await
}

async fn look_up(
    tx: &mut PgConnection,
    tenant: TenantId,
    key: &Key<'_>,
) -> Result<Known, sqlx::Error> {
    // Without the lock first: a dropped transaction lets go of its locks a moment after its answer was sent, so a
    // repetition must not hold one.
    if let Some(known) = find(tx, tenant, key).await? {
        return Ok(known);
    }
    let held: bool = sqlx::query_scalar("select pg_try_advisory_xact_lock($1)")
        .bind(lock_number(tenant, key))
        .fetch_one(&mut *tx)
        .await?;
    if !held {
        return Ok(Known::InFlight);
    }
    // Whoever held it before may have answered in between.
    Ok(find(tx, tenant, key).await?.unwrap_or(Known::Fresh))
}

async fn find(
    tx: &mut PgConnection,
    tenant: TenantId,
    key: &Key<'_>,
) -> Result<Option<Known>, sqlx::Error> {
    let row: Option<(Vec<u8>, i32, Value)> = sqlx::query_as(
        "select body_hash, status, answer from idempotency
         where tenant_id = $1 and principal = $2 and route = $3 and key = $4
           and created_at > now() - interval '24 hours'",
    )
    .bind(tenant)
    .bind(key.principal)
    .bind(key.route)
    .bind(key.key)
    .fetch_optional(&mut *tx)
    .await?;
    Ok(row.map(|(hash, status, answer)| {
        if hash == key.body_hash {
            Known::Stored { status: status as u16, answer }
        } else {
            Known::OtherBody
        }
    }))
}

/// Stores the answer; it becomes visible when the caller's transaction commits.
pub async fn remember(
    tx: &mut TenantTx,
    key: &Key<'_>,
    status: u16,
    answer: &Value,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    store(tx, tenant, key, (status, answer)).await
}

/// The same after [`begin_across`].
pub async fn remember_across(
    tx: &mut SystemTx,
    asker: TenantId,
    key: &Key<'_>,
    answer: (u16, &Value),
) -> Result<(), sqlx::Error> {
    store(tx, asker, key, answer).await
}

async fn store(
    tx: &mut PgConnection,
    tenant: TenantId,
    key: &Key<'_>,
    (status, answer): (u16, &Value),
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into idempotency (tenant_id, principal, route, key, body_hash, status, answer)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (tenant_id, principal, route, key) do update
         set body_hash = excluded.body_hash, status = excluded.status,
             answer = excluded.answer, created_at = now()",
    )
    .bind(tenant)
    .bind(key.principal)
    .bind(key.route)
    .bind(key.key)
    .bind(key.body_hash.as_slice())
    .bind(i32::from(status))
    .bind(answer)
    .execute(&mut *tx)
    .await
    .map(drop)
}

/// Forgets answers older than a day, up to `limit` of them; says how many.
pub async fn prune(connection: &mut PgConnection, limit: i64) -> Result<u64, sqlx::Error> {
    sqlx::query(
        "delete from idempotency where ctid = any (array(
             select ctid from idempotency where created_at < now() - interval '24 hours'
             order by created_at limit $1 for update skip locked))",
    )
    .bind(limit)
    .execute(connection)
    .await
    .map(|done| done.rows_affected())
}

fn lock_number(tenant: TenantId, key: &Key<'_>) -> i64 {
    let mut hash = Sha256::new();
    for part in [tenant.to_string().as_str(), key.principal, key.route, key.key] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut number = [0; 8];
    number.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(number)
}
