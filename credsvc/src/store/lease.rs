//! Leases under way. A lease is what the audit says of it: nothing else is written for one.

use chrono::{DateTime, Utc};
use dbutil::TenantTx;
use shared_models::{CredentialId, RunId};

/// A secret that a service may still have in memory.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) seq: i64,
    pub(crate) at: DateTime<Utc>,
    pub(crate) actor: String,
    pub(crate) grantee: Option<String>,
    pub(crate) run: Option<RunId>,
    pub(crate) purpose: Option<String>,
    pub(crate) host: Option<String>,
}

/// The leases of a credential that were given in the last `seconds` and have not been ended since, newest first.
pub(crate) async fn list(
    tx: &mut TenantTx,
    credential: CredentialId,
    seconds: u32,
    limit: i64,
) -> Result<Vec<Lease>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Lease,
        r#"select seq, occurred_at as at, actor, grantee, run_id as "run: RunId", purpose, host
           from credsvc.audit
           where tenant_id = $1 and credential_id = $2 and action = 'resolve' and outcome = 'ok'
             and occurred_at > clock_timestamp() - make_interval(secs => $3)
             and seq > coalesce((
                 select max(seq) from credsvc.audit
                 where tenant_id = $1 and credential_id = $2 and outcome = 'ok'
                   and action in ('update', 'delete', 'disconnect', 'connect')), 0)
           order by seq desc limit $4"#,
        tenant as _,
        credential as _,
        f64::from(seconds),
        limit,
    )
    .fetch_all(&mut **tx)
    .await
}
