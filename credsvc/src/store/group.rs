//! A group of audit entries, of several tenants, in one transaction: the ends of their chains are locked, what the
//! group asks for is read behind the locks, the rows are added, the heads moved.
//!
//! Locks are only taken in the order of tenants, so two groups never wait for each other; other transactions take one
//! head, last. Generic plans are forced on the connection, so each statement has one shape whatever the group's size.

use chrono::{DateTime, Utc};
use shared_models::{CredentialId, RunId, TenantId, UserId};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Postgres, Transaction};
use uuid::Uuid;

use super::{audit::Head, credential::Health};
use crate::{
    audit::Row,
    resolve::Ask,
    vault::{Sealed, Whose},
};

/// Starts a transaction that sees these tenants; one round trip.
pub(crate) async fn begin<'c>(
    connection: &'c mut PgConnection,
    tenants: &[TenantId],
) -> Result<Transaction<'c, Postgres>, sqlx::Error> {
    // The setting is made of UUIDs only, so there is nothing to escape.
    let begin = format!("begin; set local app.tenants = '{}'", dbutil::tenants_setting(tenants));
    connection.begin_with(AssertSqlSafe(begin)).await
}

/// Locks the tenants' heads, in the order of `tenants`, which are sorted. One that has none yet is left out.
pub(crate) async fn lock_heads(
    connection: &mut PgConnection,
    tenants: &[TenantId],
) -> Result<Vec<(TenantId, Head)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select tenant_id as "tenant_id: TenantId", seq, hash, clock_timestamp() as "at!"
           from credsvc.audit_head where tenant_id = any($1) order by tenant_id for update"#,
        &uuids(tenants),
    )
    .fetch_all(connection)
    .await?;
    let head = |seq, hash, at| Head { seq, hash, at };
    Ok(rows.into_iter().map(|row| (row.tenant_id, head(row.seq, row.hash, row.at))).collect())
}

/// Makes heads where there are none.
pub(crate) async fn make_heads(
    connection: &mut PgConnection,
    tenants: &[TenantId],
    hashes: &[Vec<u8>],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into credsvc.audit_head (tenant_id, hash)
         select * from unnest($1::uuid[], $2::bytea[]) order by 1
         on conflict do nothing",
        &uuids(tenants),
        hashes,
    )
    .execute(connection)
    .await
    .map(drop)
}

/// What of a credential decides whether it is given out, and the secret; no more, for this is read most of all.
#[derive(Debug)]
pub(crate) struct Leasable {
    pub(crate) id: CredentialId,
    pub(crate) tenant_id: TenantId,
    pub(crate) user_id: Option<UserId>,
    pub(crate) kind: String,
    pub(crate) version: i32,
    pub(crate) sealed: Sealed,
    pub(crate) last_used_at: Option<DateTime<Utc>>,
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) honey: bool,
    pub(crate) health: Health,
    pub(crate) token_expires_at: Option<DateTime<Utc>>,
    /// As [`super::credential::Credential::is_connection`].
    pub(crate) connection: bool,
}

impl Leasable {
    /// What its secret is bound to.
    pub(crate) fn whose(&self) -> Whose {
        Whose {
            tenant: self.tenant_id,
            credential: self.id,
            user: self.user_id,
            version: self.version,
        }
    }
}

/// A live credential that somebody asks for.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) credential: Leasable,
    /// Whether there is a grant for who asks.
    pub(crate) granted: bool,
    /// Whether the tenant's key that it is sealed under is still there and not retired.
    pub(crate) usable: bool,
}

/// What each of the asked finds, in the same order. The limits make it a look-up for each: on fresh tables the
/// planner would rather read all of a tenant's.
pub(crate) async fn look(
    connection: &mut PgConnection,
    asked: &[(TenantId, &Ask)],
) -> Result<Vec<Option<Found>>, sqlx::Error> {
    let of = |field: fn(&(TenantId, &Ask)) -> Uuid| asked.iter().map(field).collect::<Vec<_>>();
    let rows = sqlx::query!(
        r#"select n.place as "place!", c.credential_id as "id: CredentialId", c.tenant_id as "tenant_id: TenantId",
               c.user_id as "user_id: UserId", c.type as kind, c.version, c.tenant_key_version, c.data_key, c.sealed,
               c.last_used_at, c.expires_at, c.allowed_hosts, c.honey, c.health as "health: Health",
               c.token_expires_at,
               c.provider_config_id is not null or c.token_expires_at is not null as "connection!",
               (select true from credsvc.credential_grant g
                where g.tenant_id = n.tenant_id and g.credential_id = n.wanted and g.grantee_kind = n.grantee_kind
                  and g.grantee_id = n.grantee_id and (n.owner is null or g.owner = n.owner)
                limit 1) is not null as "granted!",
               (select true from credsvc.tenant_key k
                where k.tenant_id = c.tenant_id and k.version = c.tenant_key_version and k.state <> 'retired'
                limit 1) is not null as "usable!"
           from unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::uuid[]) with ordinality
                as n(tenant_id, wanted, grantee_kind, grantee_id, owner, place)
           cross join lateral (
               select * from credsvc.credential
               where tenant_id = n.tenant_id and credential_id = n.wanted and deleted_at is null
               limit 1) as c"#,
        &of(|(tenant, _)| tenant.uuid()),
        &of(|(_, ask)| ask.credential.uuid()),
        &asked.iter().map(|(_, ask)| ask.grantee.kind().to_owned()).collect::<Vec<_>>(),
        &of(|(_, ask)| ask.grantee.uuid()),
        &asked.iter().map(|(_, ask)| ask.owner.map(UserId::uuid)).collect::<Vec<_>>() as _,
    )
    .fetch_all(connection)
    .await?;
    let mut found: Vec<Option<Found>> = asked.iter().map(|_| None).collect();
    for row in rows {
        let credential = Leasable {
            id: row.id,
            tenant_id: row.tenant_id,
            user_id: row.user_id,
            kind: row.kind,
            version: row.version,
            sealed: Sealed {
                tenant_key_version: row.tenant_key_version,
                data_key: row.data_key,
                secret: row.sealed,
            },
            last_used_at: row.last_used_at,
            expires_at: row.expires_at,
            allowed_hosts: row.allowed_hosts,
            honey: row.honey,
            health: row.health,
            token_expires_at: row.token_expires_at,
            connection: row.connection,
        };
        if let Some(place) = found.get_mut(row.place as usize - 1) {
            *place = Some(Found { credential, granted: row.granted, usable: row.usable });
        }
    }
    Ok(found)
}

/// Adds rows and moves the heads of their tenants, in one statement. `heads` are where the chains end after it.
pub(crate) async fn append(
    connection: &mut PgConnection,
    rows: &[(TenantId, Row)],
    heads: &[(TenantId, Head)],
) -> Result<(), sqlx::Error> {
    let columns = Columns::of(rows);
    let heads_of: Vec<Uuid> = heads.iter().map(|(tenant, _)| tenant.uuid()).collect();
    let seqs: Vec<i64> = heads.iter().map(|(_, head)| head.seq).collect();
    let hashes: Vec<&[u8]> = heads.iter().map(|(_, head)| head.hash.as_slice()).collect();
    sqlx::query!(
        "with moved as (
             update credsvc.audit_head as head set seq = n.seq, hash = n.hash
             from unnest($1::uuid[], $2::int8[], $3::bytea[]) as n(tenant_id, seq, hash)
             where head.tenant_id = n.tenant_id)
         insert into credsvc.audit (tenant_id, seq, occurred_at, actor, on_behalf_of, action, credential_id, grantee,
             run_id, purpose, host, remote, request_id, outcome, reason, prev_hash, hash)
         select * from unnest($4::uuid[], $5::int8[], $6::timestamptz[], $7::text[], $8::uuid[], $9::text[],
             $10::uuid[], $11::text[], $12::uuid[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[],
             $18::text[], $19::bytea[], $20::bytea[])",
        &heads_of,
        &seqs,
        &hashes as _,
        &columns.tenants,
        &columns.seqs,
        &columns.times,
        &columns.actors as _,
        &columns.on_behalf_of as _,
        &columns.actions as _,
        &columns.credentials as _,
        &columns.grantees as _,
        &columns.runs as _,
        &columns.purposes as _,
        &columns.hosts as _,
        &columns.remotes as _,
        &columns.requests as _,
        &columns.outcomes as _,
        &columns.reasons as _,
        &columns.previous as _,
        &columns.hashes as _,
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Notes that credentials were used. One that somebody else holds is left for its next use: nobody is waited for here.
pub(crate) async fn mark_used(
    connection: &mut PgConnection,
    used: &[(TenantId, CredentialId)],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with free as (
             select tenant_id, credential_id from credsvc.credential
             where tenant_id = any($1) and credential_id = any($2) for no key update skip locked)
         update credsvc.credential as c set last_used_at = now() from free
         where c.tenant_id = free.tenant_id and c.credential_id = free.credential_id",
        &used.iter().map(|(tenant, _)| tenant.uuid()).collect::<Vec<_>>(),
        &used.iter().map(|(_, credential)| credential.uuid()).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await
    .map(drop)
}

fn uuids(tenants: &[TenantId]) -> Vec<Uuid> {
    tenants.iter().map(|tenant| tenant.uuid()).collect()
}

#[derive(Default)]
struct Columns<'a> {
    tenants: Vec<Uuid>,
    seqs: Vec<i64>,
    times: Vec<DateTime<Utc>>,
    actors: Vec<&'a str>,
    on_behalf_of: Vec<Option<Uuid>>,
    actions: Vec<&'a str>,
    credentials: Vec<Option<Uuid>>,
    grantees: Vec<Option<&'a str>>,
    runs: Vec<Option<Uuid>>,
    purposes: Vec<Option<&'a str>>,
    hosts: Vec<Option<&'a str>>,
    remotes: Vec<Option<&'a str>>,
    requests: Vec<Option<&'a str>>,
    outcomes: Vec<&'a str>,
    reasons: Vec<Option<&'a str>>,
    previous: Vec<&'a [u8]>,
    hashes: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    fn of(rows: &'a [(TenantId, Row)]) -> Self {
        let mut columns = Self::default();
        for (tenant, row) in rows {
            columns.tenants.push(tenant.uuid());
            columns.seqs.push(row.seq);
            columns.times.push(row.occurred_at);
            columns.actors.push(&row.actor);
            columns.on_behalf_of.push(row.on_behalf_of.map(UserId::uuid));
            columns.actions.push(&row.action);
            columns.credentials.push(row.credential_id.map(CredentialId::uuid));
            columns.grantees.push(row.grantee.as_deref());
            columns.runs.push(row.run_id.map(RunId::uuid));
            columns.purposes.push(row.purpose.as_deref());
            columns.hosts.push(row.host.as_deref());
            columns.remotes.push(row.remote.as_deref());
            columns.requests.push(row.request_id.as_deref());
            columns.outcomes.push(&row.outcome);
            columns.reasons.push(row.reason.as_deref());
            columns.previous.push(&row.prev_hash);
            columns.hashes.push(&row.hash);
        }
        columns
    }
}
