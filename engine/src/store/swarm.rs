//! Swarms as they are now. What they were is in `swarm_version`, which is above which in `swarm_edge`.

use chrono::{DateTime, Utc};
use dbutil::{Cursor, OnConstraint as _, Page, PageQuery, TenantTx};
use serde::Serialize;
use shared_models::{AgentId, AgentStatus, SwarmId, SwarmMode, TeamId, UserId, VersionChange};
use sqlx::types::Json;
use utoipa::ToSchema;

use super::{swarm_edge, swarm_version};
use crate::{error::Error, swarm::SwarmFields, visibility::Viewer};

/// A swarm as it is now.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[allow(clippy::struct_field_names, reason = "the names on the wire")]
pub(crate) struct Swarm {
    pub(crate) swarm_id: SwarmId,
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
    pub(crate) fields: SwarmFields,
}

/// Which swarms a list is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) name: Option<String>,
    pub(crate) status: Option<AgentStatus>,
    pub(crate) mode: Option<SwarmMode>,
    pub(crate) owner: Option<UserId>,
    pub(crate) parent: Option<SwarmId>,
    /// Part of the name, the title or the description, in any case.
    pub(crate) q: Option<String>,
}

struct Row {
    swarm_id: SwarmId,
    owner: UserId,
    version: i32,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    updated_by: UserId,
    fields: Json<SwarmFields>,
}

impl From<Row> for Swarm {
    fn from(row: Row) -> Self {
        Self {
            swarm_id: row.swarm_id,
            owner: row.owner,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
            updated_by: row.updated_by,
            fields: row.fields.0,
        }
    }
}

/// Adds a swarm; its name must be new within the tenant.
pub(crate) async fn insert(
    tx: &mut TenantTx,
    swarm_id: SwarmId,
    owner: UserId,
    fields: &SwarmFields,
) -> Result<Swarm, Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into engine.swarm (swarm_id, tenant_id, name, scope, owner_id, team_id, status, mode, version)
         values ($1, $2, $3, $4, $5, $6, $7, $8, 1)",
        swarm_id as _,
        tenant as _,
        fields.name,
        fields.scope.as_str(),
        owner as _,
        fields.team_id as Option<TeamId>,
        fields.status.as_str(),
        fields.mode.as_str(),
    )
    .execute(&mut **tx)
    .await
    .on_constraint("swarm_tenant_name_key", || Error::SwarmNameTaken(fields.name.clone()))?;
    swarm_version::insert(tx, swarm_id, (1, VersionChange::Created), owner, fields).await?;
    swarm_edge::put(tx, swarm_id, fields).await?;
    find(tx, swarm_id).await?.ok_or(Error::SwarmNotFound(swarm_id))
}

/// Makes the next version of a swarm that the caller holds by [`find_for_update`].
pub(crate) async fn update(
    tx: &mut TenantTx,
    current: &Swarm,
    by: UserId,
    fields: &SwarmFields,
    change: VersionChange,
) -> Result<Swarm, Error> {
    let (tenant, version) = (tx.tenant(), current.version + 1);
    sqlx::query!(
        "update engine.swarm
         set name = $3, scope = $4, team_id = $5, status = $6, mode = $7, version = $8, updated_at = now()
         where tenant_id = $1 and swarm_id = $2",
        tenant as _,
        current.swarm_id as _,
        fields.name,
        fields.scope.as_str(),
        fields.team_id as Option<TeamId>,
        fields.status.as_str(),
        fields.mode.as_str(),
        version,
    )
    .execute(&mut **tx)
    .await
    .on_constraint("swarm_tenant_name_key", || Error::SwarmNameTaken(fields.name.clone()))?;
    swarm_version::insert(tx, current.swarm_id, (version, change), by, fields).await?;
    swarm_edge::put(tx, current.swarm_id, fields).await?;
    find(tx, current.swarm_id).await?.ok_or(Error::SwarmNotFound(current.swarm_id))
}

/// A swarm by its id, whoever may see it.
pub(crate) async fn find(
    tx: &mut TenantTx,
    swarm_id: SwarmId,
) -> Result<Option<Swarm>, sqlx::Error> {
    let tenant = tx.tenant();
    let row = sqlx::query_as!(
        Row,
        r#"select swarm.swarm_id as "swarm_id: SwarmId", swarm.owner_id as "owner: UserId", swarm.version,
                  swarm.created_at, swarm.updated_at, newest.changed_by as "updated_by: UserId",
                  newest.definition as "fields: Json<SwarmFields>"
           from engine.swarm swarm
           join engine.swarm_version newest
             on newest.swarm_id = swarm.swarm_id and newest.version = swarm.version
            and newest.tenant_id = swarm.tenant_id
           where swarm.tenant_id = $1 and swarm.swarm_id = $2 and swarm.deleted_at is null"#,
        tenant as _,
        swarm_id as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(Into::into))
}

/// The swarm of this name, whoever may see it.
pub(crate) async fn named(tx: &mut TenantTx, name: &str) -> Result<Option<SwarmId>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"select swarm_id as "swarm_id: SwarmId" from engine.swarm
           where tenant_id = $1 and name = $2 and deleted_at is null"#,
        tenant as _,
        name,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// A swarm that the viewer may see.
pub(crate) async fn find_visible(
    tx: &mut TenantTx,
    viewer: &Viewer,
    swarm_id: SwarmId,
) -> Result<Swarm, Error> {
    find(tx, swarm_id)
        .await?
        .filter(|swarm| viewer.sees(swarm.fields.scope, swarm.owner, swarm.fields.team_id))
        .ok_or(Error::SwarmNotFound(swarm_id))
}

/// The same, held until the transaction ends: other edits of the swarm wait.
pub(crate) async fn find_for_update(
    tx: &mut TenantTx,
    viewer: &Viewer,
    swarm_id: SwarmId,
) -> Result<Swarm, Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "select swarm_id from engine.swarm where tenant_id = $1 and swarm_id = $2 for update",
        tenant as _,
        swarm_id as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    find_visible(tx, viewer, swarm_id).await
}

/// The swarms a viewer may see, newest first.
pub(crate) async fn list_page(
    tx: &mut TenantTx,
    viewer: &Viewer,
    filter: &Filter,
    page: &PageQuery,
) -> Result<Page<Swarm>, Error> {
    let tenant = tx.tenant();
    let after = page.after().map_err(servicekit::Problem::from)?;
    let rows = sqlx::query_as!(
        Row,
        r#"select swarm.swarm_id as "swarm_id: SwarmId", swarm.owner_id as "owner: UserId", swarm.version,
                  swarm.created_at, swarm.updated_at, newest.changed_by as "updated_by: UserId",
                  newest.definition as "fields: Json<SwarmFields>"
           from engine.swarm swarm
           join engine.swarm_version newest
             on newest.swarm_id = swarm.swarm_id and newest.version = swarm.version
            and newest.tenant_id = swarm.tenant_id
           where swarm.tenant_id = $1 and swarm.deleted_at is null
             and ($2::bool or swarm.owner_id = $3 or (swarm.scope = 'team' and swarm.team_id = any ($4)))
             and ($5::text is null or swarm.name = $5)
             and ($6::text is null or swarm.status = $6)
             and ($7::text is null or swarm.mode = $7)
             and ($8::text is null or strpos(lower(swarm.name), lower($8)) > 0
                  or strpos(lower(newest.definition ->> 'title'), lower($8)) > 0
                  or strpos(lower(newest.definition ->> 'description'), lower($8)) > 0)
             and ($9::timestamptz is null or (swarm.created_at, swarm.swarm_id) < ($9, $10))
             and ($12::uuid is null or swarm.owner_id = $12)
             and ($13::uuid is null or exists (
                    select from engine.swarm_edge e
                    where e.above_id = $13 and e.below_id = swarm.swarm_id and e.kind = 'parent'))
           order by swarm.created_at desc, swarm.swarm_id desc
           limit $11"#,
        tenant as _,
        viewer.admin,
        viewer.user_id(),
        &viewer.team_ids(),
        filter.name.as_deref(),
        filter.status.map(AgentStatus::as_str),
        filter.mode.map(SwarmMode::as_str),
        filter.q.as_deref(),
        after.map(|cursor| cursor.at),
        after.map_or_else(uuid::Uuid::nil, |cursor| cursor.id),
        page.limit() + 1,
        filter.owner as Option<UserId>,
        filter.parent as Option<SwarmId>,
    )
    .fetch_all(&mut **tx)
    .await?;
    let swarms = rows.into_iter().map(Swarm::from).collect();
    let position = |swarm: &Swarm| Cursor { at: swarm.created_at, id: swarm.swarm_id.uuid() };
    Ok(Page::new(swarms, page.limit(), position))
}

/// Takes a swarm away. Its history and its runs stay; its name is free again.
pub(crate) async fn mark_deleted(tx: &mut TenantTx, swarm_id: SwarmId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.swarm set deleted_at = now() where tenant_id = $1 and swarm_id = $2",
        tenant as _,
        swarm_id as _,
    )
    .execute(&mut **tx)
    .await?;
    swarm_edge::clear(tx, swarm_id).await
}

/// Notes that an agent was made with a swarm.
pub(crate) async fn made_agent(
    tx: &mut TenantTx,
    swarm_id: SwarmId,
    agent_id: AgentId,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "insert into engine.swarm_agent (swarm_id, agent_id, tenant_id) values ($1, $2, $3)",
        swarm_id as _,
        agent_id as _,
        tenant as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// The agents that were made with a swarm and are still there.
pub(crate) async fn own_agents(
    tx: &mut TenantTx,
    swarm_id: SwarmId,
) -> Result<Vec<AgentId>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"select own.agent_id as "agent_id: AgentId" from engine.swarm_agent own
           join engine.agent agent on agent.agent_id = own.agent_id and agent.tenant_id = own.tenant_id
           where own.tenant_id = $1 and own.swarm_id = $2 and agent.deleted_at is null
           order by own.agent_id"#,
        tenant as _,
        swarm_id as _,
    )
    .fetch_all(&mut **tx)
    .await
}
