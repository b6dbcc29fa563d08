//! The audit chain: rows are only ever added, each behind the tenant's head.

use chrono::{DateTime, Utc};
use dbutil::{SystemTx, TenantTx};
use shared_models::{CredentialId, RunId, TenantId, UserId};

use crate::audit::Row;

/// The end of a tenant's chain, held until the transaction ends.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) seq: i64,
    pub(crate) hash: Vec<u8>,
    /// The database's clock once the head was ours, so that times rise with the chain.
    pub(crate) at: DateTime<Utc>,
}

/// Locks the tenant's head, making it first when there is none. `genesis` is the hash before the first row.
pub(crate) async fn lock_head(tx: &mut TenantTx, genesis: &[u8]) -> Result<Head, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Head,
        r#"insert into credsvc.audit_head as head (tenant_id, hash) values ($1, $2)
           on conflict (tenant_id) do update set seq = head.seq
           returning seq, hash, clock_timestamp() as "at!""#,
        tenant as _,
        genesis,
    )
    .fetch_one(&mut **tx)
    .await
}

/// Adds a row and moves the head behind it, in one statement.
pub(crate) async fn append(tx: &mut TenantTx, row: &Row) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "with moved as (
             update credsvc.audit_head set seq = $2, hash = $17 where tenant_id = $1 returning tenant_id)
         insert into credsvc.audit (tenant_id, seq, occurred_at, actor, on_behalf_of, action, credential_id, grantee,
             run_id, purpose, host, remote, request_id, outcome, reason, prev_hash, hash)
         select tenant_id, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17 from moved",
        tenant as _,
        row.seq,
        row.occurred_at,
        row.actor,
        row.on_behalf_of as _,
        row.action,
        row.credential_id as _,
        row.grantee,
        row.run_id as _,
        row.purpose,
        row.host,
        row.remote,
        row.request_id,
        row.outcome,
        row.reason,
        row.prev_hash,
        row.hash,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// What a list of the audit is narrowed to.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    pub(crate) credential: Option<CredentialId>,
    /// A user's id or `svc:<service>`; also finds what services did for that user.
    pub(crate) actor: Option<String>,
    pub(crate) on_behalf_of: Option<UserId>,
    pub(crate) action: Option<String>,
    pub(crate) from: Option<DateTime<Utc>>,
    pub(crate) until: Option<DateTime<Utc>>,
}

/// Rows before `before`, newest first, one more than `limit`.
pub(crate) async fn list_page(
    tx: &mut TenantTx,
    filter: &Filter,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Row,
        r#"select seq, occurred_at, actor, on_behalf_of as "on_behalf_of: UserId", action,
               credential_id as "credential_id: CredentialId", grantee, run_id as "run_id: RunId", purpose, host,
               remote, request_id, outcome, reason, prev_hash, hash
           from credsvc.audit
           where tenant_id = $1
             and ($2::uuid is null or credential_id = $2)
             and ($3::text is null or actor = $3 or on_behalf_of = $4)
             and ($5::text is null or action = $5)
             and ($6::timestamptz is null or occurred_at >= $6)
             and ($7::timestamptz is null or occurred_at < $7)
             and ($8::bigint is null or seq < $8)
           order by seq desc limit $9"#,
        tenant as _,
        filter.credential as _,
        filter.actor.as_deref(),
        filter.on_behalf_of as _,
        filter.action.as_deref(),
        filter.from,
        filter.until,
        before,
        limit + 1,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Rows after `seq` in the order of the chain.
pub(crate) async fn list_after(
    tx: &mut TenantTx,
    seq: i64,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Row,
        r#"select seq, occurred_at, actor, on_behalf_of as "on_behalf_of: UserId", action,
               credential_id as "credential_id: CredentialId", grantee, run_id as "run_id: RunId", purpose, host,
               remote, request_id, outcome, reason, prev_hash, hash
           from credsvc.audit where tenant_id = $1 and seq > $2 order by seq limit $3"#,
        tenant as _,
        seq,
        limit,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Everybody who has a chain, or what is left of one.
pub(crate) async fn tenants(tx: &mut SystemTx) -> Result<Vec<TenantId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select tenant_id as "tenant_id!: TenantId" from credsvc.audit_head
           union select tenant_id from credsvc.audit order by 1"#,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Where the chain should end, and where it does.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) seq: i64,
    pub(crate) hash: Vec<u8>,
    pub(crate) last_row: i64,
}

/// Both ends as of one moment; none when the tenant has no chain.
pub(crate) async fn ends(tx: &mut TenantTx) -> Result<Option<Ends>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Ends,
        r#"select seq as "seq!", hash as "hash!",
               coalesce((select max(seq) from credsvc.audit where tenant_id = $1), 0) as "last_row!"
           from (
               select seq, hash from credsvc.audit_head where tenant_id = $1
               union all
               select 0, ''::bytea where not exists (select from credsvc.audit_head where tenant_id = $1)) as head"#,
        tenant as _,
    )
    .fetch_optional(&mut **tx)
    .await
}
