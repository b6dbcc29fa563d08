//! Agents as they are now. What they were is in `agent_version`.

use chrono::{DateTime, Utc};
use dbutil::{Cursor, Db, OnConstraint as _, Page, PageQuery, TenantTx};
use serde::Serialize;
use shared_models::{
    AgentId, AgentScope, AgentStatus, AgentType, TeamId, TenantId, UserId, VersionChange,
};
use sqlx::types::Json;
use utoipa::ToSchema;

use super::agent_version;
use crate::{definition::AgentFields, error::Error, visibility::Viewer};

/// An agent as it is now.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[allow(clippy::struct_field_names, reason = "the names on the wire")]
pub(crate) struct Agent {
    pub(crate) agent_id: AgentId,
    /// The person in whose name it acts.
    pub(crate) owner: UserId,
    /// Rises with each edit; the `ETag`.
    pub(crate) version: i32,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    pub(crate) created_at: DateTime<Utc>,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    pub(crate) updated_at: DateTime<Utc>,
    /// Who made the newest version.
    pub(crate) updated_by: UserId,
    #[serde(flatten)]
    pub(crate) fields: AgentFields,
}

/// Which agents a list is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) name: Option<String>,
    pub(crate) status: Option<AgentStatus>,
    pub(crate) scope: Option<AgentScope>,
    pub(crate) agent_type: Option<AgentType>,
    pub(crate) tag: Option<String>,
    pub(crate) owner: Option<UserId>,
    pub(crate) team: Option<TeamId>,
    /// Part of the name, the description or a tag, in any case.
    pub(crate) q: Option<String>,
}

struct Row {
    agent_id: AgentId,
    owner: UserId,
    version: i32,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    updated_by: UserId,
    fields: Json<AgentFields>,
}

impl From<Row> for Agent {
    fn from(row: Row) -> Self {
        Self {
            agent_id: row.agent_id,
            owner: row.owner,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
            updated_by: row.updated_by,
            fields: row.fields.0,
        }
    }
}

/// Adds an agent; its name must be new within the tenant.
pub(crate) async fn insert(
    tx: &mut TenantTx,
    agent_id: AgentId,
    owner: UserId,
    fields: &AgentFields,
) -> Result<Agent, Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into engine.agent (agent_id, tenant_id, name, scope, owner_id, team_id, status, version)
         values ($1, $2, $3, $4, $5, $6, $7, 1)",
        agent_id as _,
        tenant as _,
        fields.name,
        fields.scope.as_str(),
        owner as _,
        fields.team_id as Option<TeamId>,
        fields.status.as_str(),
    )
    .execute(&mut **tx)
    .await
    .on_constraint("agent_tenant_name_key", || Error::AgentNameTaken(fields.name.clone()))?;
    agent_version::insert(tx, agent_id, 1, owner, fields, VersionChange::Created).await?;
    find(tx, agent_id).await?.ok_or(Error::AgentNotFound(agent_id))
}

/// Makes the next version of an agent that the caller holds by [`find_for_update`].
pub(crate) async fn update(
    tx: &mut TenantTx,
    current: &Agent,
    by: UserId,
    fields: &AgentFields,
    change: VersionChange,
) -> Result<Agent, Error> {
    let (tenant, version) = (tx.tenant(), current.version + 1);
    sqlx::query!(
        "update engine.agent
         set name = $3, scope = $4, team_id = $5, status = $6, version = $7, updated_at = now()
         where tenant_id = $1 and agent_id = $2",
        tenant as _,
        current.agent_id as _,
        fields.name,
        fields.scope.as_str(),
        fields.team_id as Option<TeamId>,
        fields.status.as_str(),
        version,
    )
    .execute(&mut **tx)
    .await
    .on_constraint("agent_tenant_name_key", || Error::AgentNameTaken(fields.name.clone()))?;
    agent_version::insert(tx, current.agent_id, version, by, fields, change).await?;
    find(tx, current.agent_id).await?.ok_or(Error::AgentNotFound(current.agent_id))
}

/// Makes a version of what was done to the tools of an agent that the caller holds; none when nothing has changed.
pub(crate) async fn tools_changed(
    tx: &mut TenantTx,
    current: &Agent,
    by: UserId,
) -> Result<(), Error> {
    if agent_version::tools_differ(tx, current.agent_id, current.version).await? {
        update(tx, current, by, &current.fields, VersionChange::Tools).await?;
    }
    Ok(())
}

/// An agent by its id, whoever may see it.
pub(crate) async fn find(
    tx: &mut TenantTx,
    agent_id: AgentId,
) -> Result<Option<Agent>, sqlx::Error> {
    let tenant = tx.tenant();
    let row = sqlx::query_as!(
        Row,
        r#"select agent.agent_id as "agent_id: AgentId", agent.owner_id as "owner: UserId", agent.version,
                  agent.created_at, agent.updated_at, newest.changed_by as "updated_by: UserId",
                  newest.definition as "fields: Json<AgentFields>"
           from engine.agent agent
           join engine.agent_version newest
             on newest.agent_id = agent.agent_id and newest.version = agent.version
            and newest.tenant_id = agent.tenant_id
           where agent.tenant_id = $1 and agent.agent_id = $2 and agent.deleted_at is null"#,
        tenant as _,
        agent_id as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(Into::into))
}

/// An agent that the viewer may see.
pub(crate) async fn find_visible(
    tx: &mut TenantTx,
    viewer: &Viewer,
    agent_id: AgentId,
) -> Result<Agent, Error> {
    find(tx, agent_id)
        .await?
        .filter(|agent| viewer.sees(agent.fields.scope, agent.owner, agent.fields.team_id))
        .ok_or(Error::AgentNotFound(agent_id))
}

/// The same, held until the transaction ends: other edits of the agent and its tools wait.
pub(crate) async fn find_for_update(
    tx: &mut TenantTx,
    viewer: &Viewer,
    agent_id: AgentId,
) -> Result<Agent, Error> {
    hold(tx, agent_id).await?;
    find_visible(tx, viewer, agent_id).await
}

/// Keeps others from changing an agent until the transaction ends.
pub(crate) async fn hold(tx: &mut TenantTx, agent_id: AgentId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "select agent_id from engine.agent where tenant_id = $1 and agent_id = $2 for update",
        tenant as _,
        agent_id as _,
    )
    .fetch_optional(&mut **tx)
    .await
    .map(drop)
}

/// The agents a viewer may see, newest first.
pub(crate) async fn list_page(
    tx: &mut TenantTx,
    viewer: &Viewer,
    filter: &Filter,
    page: &PageQuery,
) -> Result<Page<Agent>, Error> {
    let tenant = tx.tenant();
    let after = page.after().map_err(servicekit::Problem::from)?;
    let rows = sqlx::query_as!(
        Row,
        r#"select agent.agent_id as "agent_id: AgentId", agent.owner_id as "owner: UserId", agent.version,
                  agent.created_at, agent.updated_at, newest.changed_by as "updated_by: UserId",
                  newest.definition as "fields: Json<AgentFields>"
           from engine.agent agent
           join engine.agent_version newest
             on newest.agent_id = agent.agent_id and newest.version = agent.version
            and newest.tenant_id = agent.tenant_id
           where agent.tenant_id = $1 and agent.deleted_at is null
             and ($2::bool or agent.owner_id = $3 or (agent.scope = 'team' and agent.team_id = any ($4)))
             and ($5::text is null or agent.name = $5)
             and ($6::text is null or agent.status = $6)
             and ($7::text is null or agent.scope = $7)
             and ($8::text is null or strpos(lower(agent.name), lower($8)) > 0
                  or strpos(lower(newest.definition ->> 'description'), lower($8)) > 0
                  or strpos(lower(newest.definition ->> 'tags'), lower($8)) > 0)
             and ($9::timestamptz is null or (agent.created_at, agent.agent_id) < ($9, $10))
             and ($12::text is null or newest.definition ->> 'agent_type' = $12)
             and ($13::text is null or newest.definition -> 'tags' ? $13)
             and ($14::uuid is null or agent.owner_id = $14)
             and ($15::uuid is null or agent.team_id = $15)
           order by agent.created_at desc, agent.agent_id desc
           limit $11"#,
        tenant as _,
        viewer.admin,
        viewer.user_id(),
        &viewer.team_ids(),
        filter.name.as_deref(),
        filter.status.map(AgentStatus::as_str),
        filter.scope.map(AgentScope::as_str),
        filter.q.as_deref(),
        after.map(|cursor| cursor.at),
        after.map_or_else(uuid::Uuid::nil, |cursor| cursor.id),
        page.limit() + 1,
        filter.agent_type.map(AgentType::as_str),
        filter.tag.as_deref(),
        filter.owner as Option<UserId>,
        filter.team as Option<TeamId>,
    )
    .fetch_all(&mut **tx)
    .await?;
    let agents = rows.into_iter().map(Agent::from).collect();
    let position = |agent: &Agent| Cursor { at: agent.created_at, id: agent.agent_id.uuid() };
    Ok(Page::new(agents, page.limit(), position))
}

/// Takes an agent away. Its history and its runs stay; its name is free again.
pub(crate) async fn mark_deleted(tx: &mut TenantTx, agent_id: AgentId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.agent set deleted_at = now(), grants_due = true
         where tenant_id = $1 and agent_id = $2",
        tenant as _,
        agent_id as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Agents that are gone, whose runs have ended, and whose grants have not.
pub(crate) async fn grants_due(db: &Db) -> Result<Vec<(TenantId, AgentId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select tenant_id as "tenant: TenantId", agent_id as "agent: AgentId" from engine.agent a
           where a.grants_due and not exists (
               select from engine.run r
               where r.agent_id = a.agent_id and r.tenant_id = a.tenant_id
                 and r.status in ('queued', 'running', 'waiting', 'paused'))
             -- Of which swarms it is a member is in their runs' snapshots: any that began before it went may need it.
             and not exists (
               select from engine.run r
               where r.swarm_id is not null and r.tenant_id = a.tenant_id and r.created_at <= a.deleted_at
                 and r.status in ('queued', 'running', 'waiting', 'paused'))
           order by a.agent_id limit 100"#
    )
    .fetch_all(db.system_pool())
    .await?;
    Ok(rows.into_iter().map(|row| (row.tenant, row.agent)).collect())
}

/// Notes that the agent's grants have ended.
pub(crate) async fn grants_ended(tx: &mut TenantTx, agent: AgentId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.agent set grants_due = false where tenant_id = $1 and agent_id = $2",
        tenant as _,
        agent as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Whether the tenant has another agent of this name.
pub(crate) async fn name_is_taken(tx: &mut TenantTx, name: &str) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"select exists (select from engine.agent
                          where tenant_id = $1 and name = $2 and deleted_at is null) as "taken!""#,
        tenant as _,
        name,
    )
    .fetch_one(&mut **tx)
    .await
}

/// How often agents and tools of the tenant have changed.
pub(crate) async fn revision(tx: &mut TenantTx) -> Result<i64, sqlx::Error> {
    let tenant = tx.tenant();
    let revision = sqlx::query_scalar!(
        "select revision from engine.catalogue where tenant_id = $1",
        tenant as _
    );
    Ok(revision.fetch_optional(&mut **tx).await?.unwrap_or_default())
}
