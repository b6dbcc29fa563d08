//! Teams.

use chrono::{DateTime, Utc};
use dbutil::{Cursor, OnConstraint as _, TenantTx};
use serde::Serialize;
use shared_models::{TeamId, TenantId};
use uuid::Uuid;

use crate::{Error, wire_time};

/// A group of members.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Team {
    pub(crate) id: TeamId,
    pub(crate) name: String,
    /// The one every member is in.
    pub(crate) default: bool,
    /// Counts edits; the `ETag`.
    pub(crate) version: i32,
    #[serde(serialize_with = "wire_time::time")]
    pub(crate) created_at: DateTime<Utc>,
}

impl Team {
    /// Where it stands in lists.
    pub(crate) fn position(&self) -> Cursor {
        Cursor { at: self.created_at, id: self.id.uuid() }
    }
}

/// Adds a team; the name must be new within the tenant.
pub(crate) async fn insert(
    tx: &mut TenantTx,
    tenant: TenantId,
    name: &str,
    default_team: bool,
) -> Result<Team, Error> {
    let id = TeamId::mint();
    sqlx::query_as!(
        Team,
        r#"insert into gateway.team (team_id, tenant_id, name, default_team) values ($1, $2, $3, $4)
           returning team_id as "id: TeamId", name, default_team as "default", version, created_at"#,
        id as _,
        tenant as _,
        name,
        default_team,
    )
    .fetch_one(&mut **tx)
    .await
    .on_constraint("team_name_key", || Error::TeamNameTaken(name.to_owned()))
}

/// One team, held against other edits until the transaction ends.
pub(crate) async fn find(tx: &mut TenantTx, id: TeamId) -> Result<Option<Team>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Team,
        r#"select team_id as "id: TeamId", name, default_team as "default", version, created_at
           from gateway.team where tenant_id = $1 and team_id = $2 for no key update"#,
        tenant as _,
        id as _,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// The team every member is in.
pub(crate) async fn find_default(tx: &mut TenantTx) -> Result<TeamId, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"select team_id as "id: TeamId" from gateway.team where tenant_id = $1 and default_team"#,
        tenant as _,
    )
    .fetch_one(&mut **tx)
    .await
}

/// Gives a team another name.
pub(crate) async fn rename(tx: &mut TenantTx, id: TeamId, name: &str) -> Result<(), Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update gateway.team set name = $3, version = version + 1 where tenant_id = $1 and team_id = $2",
        tenant as _,
        id as _,
        name,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
    .on_constraint("team_name_key", || Error::TeamNameTaken(name.to_owned()))
}

/// Teams, newest first, one more than `limit`.
pub(crate) async fn list_page(
    tx: &mut TenantTx,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<Team>, sqlx::Error> {
    let tenant = tx.tenant();
    let (at, id) = after.map(|cursor| (cursor.at, cursor.id)).unzip();
    sqlx::query_as!(
        Team,
        r#"select team_id as "id: TeamId", name, default_team as "default", version, created_at from gateway.team
           where tenant_id = $1 and ($2::timestamptz is null or (created_at, team_id) < ($2, $3::uuid))
           order by created_at desc, team_id desc limit $4"#,
        tenant as _,
        at,
        id as Option<Uuid>,
        limit + 1,
    )
    .fetch_all(&mut **tx)
    .await
}
