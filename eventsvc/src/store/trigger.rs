//! Triggers.

use chrono::{DateTime, Utc};
use dbutil::{Cursor, SystemTx, TenantTx};
use serde_json::Value;
use shared_models::{
    AgentId, CredentialId, SourceId, SwarmId, TeamId, TenantId, TriggerId, UserId,
};
use uuid::Uuid;

use crate::viewer::Viewer;

/// A trigger as stored, with its counters and, if it is a timer, where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Trigger {
    pub trigger_id: TriggerId,
    pub tenant_id: TenantId,
    pub source_id: SourceId,
    pub name: Option<String>,
    pub system: String,
    pub target_kind: String,
    pub target_id: Option<Uuid>,
    pub credential_id: Option<CredentialId>,
    /// The one that was made for it alone.
    pub own_credential_id: Option<CredentialId>,
    pub options: Value,
    pub filter: Option<String>,
    pub input: Option<Value>,
    pub flow: Option<Value>,
    pub respond_seconds: Option<i32>,
    pub active: bool,
    pub paused: bool,
    pub paused_why: Option<String>,
    /// Why its system is paused as a whole, if it is; perhaps nothing was said.
    pub system_pause: Option<String>,
    pub owner_id: UserId,
    pub scope: String,
    pub team_id: Option<TeamId>,
    pub version: i32,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub fired: i64,
    pub filtered: i64,
    pub skipped: i64,
    pub failed: i64,
    pub failed_later: i64,
    pub duplicate: i64,
    pub refused: i64,
    pub last_delivery_at: Option<DateTime<Utc>>,
    pub last_refused_at: Option<DateTime<Utc>>,
    pub next_slot_at: Option<DateTime<Utc>>,
    pub next_due_at: Option<DateTime<Utc>>,
    pub last_slot_at: Option<DateTime<Utc>>,
    pub last_fired_at: Option<DateTime<Utc>>,
    /// Only a timer has this.
    pub missed: Option<i64>,
    pub last_missed_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    pub end_reason: Option<String>,
    pub anchor_at: Option<DateTime<Utc>>,
}

/// What a save decides about a trigger.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    pub name: Option<String>,
    pub target_kind: String,
    pub target_id: Option<Uuid>,
    pub credential_id: Option<CredentialId>,
    /// The one that was made for it alone.
    pub own_credential_id: Option<CredentialId>,
    pub options: Value,
    pub filter: Option<String>,
    pub input: Option<Value>,
    pub flow: Option<Value>,
    pub respond_seconds: Option<i32>,
    pub active: bool,
    pub paused: bool,
    pub scope: String,
    pub team_id: Option<TeamId>,
}

impl Saved {
    /// What is saved now.
    pub(crate) fn of(row: &Trigger) -> Self {
        Self {
            name: row.name.clone(),
            target_kind: row.target_kind.clone(),
            target_id: row.target_id,
            credential_id: row.credential_id,
            own_credential_id: row.own_credential_id,
            options: row.options.clone(),
            filter: row.filter.clone(),
            input: row.input.clone(),
            flow: row.flow.clone(),
            respond_seconds: row.respond_seconds,
            active: row.active,
            paused: row.paused,
            scope: row.scope.clone(),
            team_id: row.team_id,
        }
    }
}

/// Triggers of the tenant's (`$1`), as `t`, behind a `where`.
macro_rules! triggers {
    ($where:tt, $($argument:expr),* $(,)?) => {
        sqlx::query_as!(
            Trigger,
            r#"select t.trigger_id as "trigger_id: TriggerId", t.tenant_id as "tenant_id: TenantId",
                  t.source_id as "source_id: SourceId", t.name, t.system, t.target_kind, t.target_id,
                  t.credential_id as "credential_id: CredentialId",
                  t.own_credential_id as "own_credential_id: CredentialId", t.options, t.filter, t.input, t.flow,
                  t.respond_seconds, t.active, t.paused,
                  t.paused_why,
                  (select coalesce(p.why, '') from eventsvc.system_pause p
                   where p.tenant_id = $1 and p.system = t.system) as "system_pause?",
                  t.owner_id as "owner_id: UserId", t.scope, t.team_id as "team_id: TeamId", t.version,
                  t.created_at, t.updated_at,
                  coalesce(s.fired, 0) as "fired!", coalesce(s.filtered, 0) as "filtered!",
                  coalesce(s.skipped, 0) as "skipped!", coalesce(s.failed, 0) as "failed!",
                  coalesce(s.failed_later, 0) as "failed_later!",
                  coalesce(s.duplicate, 0) as "duplicate!", coalesce(s.refused, 0) as "refused!",
                  s.last_delivery_at as "last_delivery_at?", s.last_refused_at as "last_refused_at?",
                  m.next_slot_at as "next_slot_at?", m.next_due_at as "next_due_at?",
                  m.last_slot_at as "last_slot_at?", m.last_fired_at as "last_fired_at?", m.missed as "missed?",
                  m.last_missed_at as "last_missed_at?", m.ended_at as "ended_at?", m.end_reason as "end_reason?",
                  m.anchor_at as "anchor_at?"
           from eventsvc.trigger t
           left join eventsvc.trigger_stat s on s.tenant_id = $1 and s.trigger_id = t.trigger_id
           left join eventsvc.timer m on m.tenant_id = $1 and m.trigger_id = t.trigger_id
           "# + $where,
            $($argument),*
        )
    };
}

/// Adds a trigger.
pub(crate) async fn insert(
    tx: &mut TenantTx,
    id: TriggerId,
    source: SourceId,
    system: &str,
    owner: UserId,
    new: &Saved,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into eventsvc.trigger (trigger_id, tenant_id, source_id, system, owner_id, name, target_kind, target_id,
             credential_id, options, filter, active, paused, scope, team_id, input, flow, respond_seconds,
             own_credential_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)",
        id as _,
        tenant as _,
        source as _,
        system,
        owner as _,
        new.name,
        new.target_kind,
        new.target_id,
        new.credential_id as _,
        new.options,
        new.filter,
        new.active,
        new.paused,
        new.scope,
        new.team_id as _,
        new.input,
        new.flow,
        new.respond_seconds,
        new.own_credential_id as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Changes a trigger if it is still at `version`; says whether it was.
pub(crate) async fn update(
    tx: &mut TenantTx,
    id: TriggerId,
    version: i32,
    source: SourceId,
    new: &Saved,
) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    let done = sqlx::query!(
        "update eventsvc.trigger
         set source_id = $4, name = $5, target_kind = $6, target_id = $7, credential_id = $8, options = $9,
             filter = $10, active = $11, paused = $12, scope = $13, team_id = $14,
             input = $15, flow = $16, respond_seconds = $17, own_credential_id = $18,
             paused_why = case when $12 and target_id is not distinct from $7 then paused_why end,
             version = version + 1, updated_at = now()
         where tenant_id = $1 and trigger_id = $2 and version = $3 and deleted_at is null",
        tenant as _,
        id as _,
        version,
        source as _,
        new.name,
        new.target_kind,
        new.target_id,
        new.credential_id as _,
        new.options,
        new.filter,
        new.active,
        new.paused,
        new.scope,
        new.team_id as _,
        new.input,
        new.flow,
        new.respond_seconds,
        new.own_credential_id as _,
    )
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The trigger, if the caller may see it.
pub(crate) async fn find(
    tx: &mut TenantTx,
    viewer: &Viewer,
    id: TriggerId,
) -> Result<Option<Trigger>, sqlx::Error> {
    let tenant = tx.tenant();
    triggers!(
        r#"where t.tenant_id = $1 and t.trigger_id = $2 and t.deleted_at is null
             and ($3 or t.owner_id = $4 or (t.scope = 'team' and t.team_id = any($5)))"#,
        tenant as _,
        id as _,
        viewer.admin,
        viewer.user as _,
        &viewer.teams,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// What a list of triggers is narrowed by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Narrow {
    pub target_id: Option<Uuid>,
    pub system: Option<String>,
    pub active: Option<bool>,
    pub q: Option<String>,
}

/// A page of the triggers the caller may see, newest first, and one more.
pub(crate) async fn list_page(
    tx: &mut TenantTx,
    viewer: &Viewer,
    narrow: &Narrow,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<Trigger>, sqlx::Error> {
    let tenant = tx.tenant();
    triggers!(
        r#"where t.tenant_id = $1 and t.deleted_at is null
             and ($2 or t.owner_id = $3 or (t.scope = 'team' and t.team_id = any($4)))
             and ($5::uuid is null or t.target_id = $5)
             and ($6::text is null or t.system = $6)
             and ($7::bool is null or t.active = $7)
             and ($8::text is null or position(lower($8) in lower(t.name)) > 0)
             and ($9::timestamptz is null or (t.created_at, t.trigger_id) < ($9, $10::uuid))
           order by t.created_at desc, t.trigger_id desc
           limit $11"#,
        tenant as _,
        viewer.admin,
        viewer.user as _,
        &viewer.teams,
        narrow.target_id,
        narrow.system,
        narrow.active,
        narrow.q,
        after.map(|cursor| cursor.at),
        after.map(|cursor| cursor.id),
        limit + 1,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Lets the triggers of an agent hold their deliveries back; says how many did not do so before.
pub(crate) async fn pause_of_agent(
    tx: &mut TenantTx,
    agent: AgentId,
    why: &str,
) -> Result<u64, sqlx::Error> {
    let tenant = tx.tenant();
    let done = sqlx::query!(
        "update eventsvc.trigger
         set paused = true, paused_why = $3, version = version + 1, updated_at = now()
         where tenant_id = $1 and target_kind = 'agent' and target_id = $2 and deleted_at is null
           and not (paused and paused_why is not null)",
        tenant as _,
        agent.uuid(),
        why,
    )
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected())
}

/// Holds back everything a swarm's triggers receive, and notes why; says how many.
pub(crate) async fn pause_of_swarm(
    tx: &mut TenantTx,
    swarm: SwarmId,
    why: &str,
) -> Result<u64, sqlx::Error> {
    let tenant = tx.tenant();
    let done = sqlx::query!(
        "update eventsvc.trigger
         set paused = true, paused_why = $3, version = version + 1, updated_at = now()
         where tenant_id = $1 and target_kind = 'swarm' and target_id = $2 and deleted_at is null
           and not (paused and paused_why is not null)",
        tenant as _,
        swarm.uuid(),
        why,
    )
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected())
}

/// Locks a trigger, so that it is looked at as whoever changed it at the same moment has left it.
pub(crate) async fn lock(tx: &mut TenantTx, id: TriggerId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "select from eventsvc.trigger where tenant_id = $1 and trigger_id = $2 for no key update",
        tenant as _,
        id as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Deletes a trigger as far as people see; says whether there was one.
pub(crate) async fn delete(tx: &mut TenantTx, id: TriggerId) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    let done = sqlx::query!(
        "update eventsvc.trigger set deleted_at = now(), active = false
         where tenant_id = $1 and trigger_id = $2 and deleted_at is null",
        tenant as _,
        id as _,
    )
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether a trigger uses a credential.
pub(crate) async fn uses(tx: &mut TenantTx, credential: CredentialId) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"select exists (select from eventsvc.trigger
           where tenant_id = $1 and credential_id = $2 and deleted_at is null) as "uses!""#,
        tenant as _,
        credential as _,
    )
    .fetch_one(&mut **tx)
    .await
}

/// Deleted triggers whose credential the vault has not been told about.
pub(crate) async fn unrevoked(
    tx: &mut SystemTx,
    limit: i64,
) -> Result<Vec<(TenantId, TriggerId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select tenant_id as "tenant: TenantId", trigger_id as "id: TriggerId" from eventsvc.trigger
           where deleted_at is not null and revoked_at is null
           order by deleted_at limit $1"#,
        limit,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.tenant, row.id)).collect())
}

/// The vault was told.
pub(crate) async fn mark_revoked(tx: &mut TenantTx, id: TriggerId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update eventsvc.trigger set revoked_at = now() where tenant_id = $1 and trigger_id = $2",
        tenant as _,
        id as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}
