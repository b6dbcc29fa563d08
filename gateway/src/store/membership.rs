//! Who belongs to a tenant, and as what.

use chrono::{DateTime, Utc};
use dbutil::{Cursor, OnConstraint as _, TenantTx};
use serde::Serialize;
use shared_models::{Role, TeamId, UserId};
use uuid::Uuid;

use super::unknown;
use crate::{Error, wire_time};

/// A member as the tenant sees them.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Member {
    pub(crate) user_id: UserId,
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) role: Role,
    /// Whether they see content, or only that there is some.
    pub(crate) can_view_payloads: bool,
    pub(crate) teams: Vec<TeamId>,
    /// `active` or `disabled`.
    pub(crate) status: String,
    /// Counts edits; the `ETag`.
    pub(crate) version: i32,
    /// Since when.
    #[serde(serialize_with = "wire_time::time")]
    pub(crate) created_at: DateTime<Utc>,
}

impl Member {
    /// Where they stand in lists.
    pub(crate) fn position(&self) -> Cursor {
        Cursor { at: self.created_at, id: self.user_id.uuid() }
    }
}

/// Which members a list shows.
#[derive(Debug, Default)]
pub(crate) struct Filter<'a> {
    pub(crate) user: Option<UserId>,
    pub(crate) team: Option<TeamId>,
    pub(crate) role: Option<Role>,
    /// Part of the e-mail address or name.
    pub(crate) text: Option<&'a str>,
    pub(crate) after: Option<Cursor>,
    pub(crate) limit: i64,
}

/// Makes somebody a member.
pub(crate) async fn insert(
    tx: &mut TenantTx,
    tenant: shared_models::TenantId,
    user: UserId,
    role: Role,
    can_view_payloads: bool,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into gateway.membership (tenant_id, user_id, role, can_view_payloads) values ($1, $2, $3, $4)",
        tenant as _,
        user as _,
        role.as_str(),
        can_view_payloads,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
    .on_constraint("membership_pkey", || Error::MemberExists)
}

/// One member.
pub(crate) async fn find(tx: &mut TenantTx, user: UserId) -> Result<Option<Member>, sqlx::Error> {
    let filter = Filter { user: Some(user), ..Filter::default() };
    Ok(list_page(tx, &filter).await?.pop())
}

/// Members, newest first, one more than the limit.
pub(crate) async fn list_page(
    tx: &mut TenantTx,
    filter: &Filter<'_>,
) -> Result<Vec<Member>, sqlx::Error> {
    let tenant = tx.tenant();
    let (at, id) = filter.after.map(|cursor| (cursor.at, cursor.id)).unzip();
    let rows = sqlx::query!(
        r#"select m.user_id as "user_id: UserId", u.email, u.name, m.role, m.can_view_payloads, u.status, m.version,
                  m.created_at,
                  array(select t.team_id from gateway.team_member t
                        where t.tenant_id = m.tenant_id and t.user_id = m.user_id order by t.team_id)
                      as "teams!: Vec<Uuid>"
           from gateway.membership m join gateway.app_user u using (user_id)
           where m.tenant_id = $1
             and ($2::uuid is null or m.user_id = $2)
             and ($3::uuid is null or exists (
                 select from gateway.team_member t
                 where t.tenant_id = m.tenant_id and t.user_id = m.user_id and t.team_id = $3))
             and ($4::text is null or m.role = $4)
             and ($5::text is null or position(lower($5) in lower(u.email || ' ' || u.name)) > 0)
             and ($6::timestamptz is null or (m.created_at, m.user_id) < ($6, $7::uuid))
           order by m.created_at desc, m.user_id desc limit $8"#,
        tenant as _,
        filter.user as Option<UserId>,
        filter.team as Option<TeamId>,
        filter.role.map(Role::as_str),
        filter.text,
        at,
        id as Option<Uuid>,
        filter.limit + 1,
    )
    .fetch_all(&mut **tx)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Member {
                user_id: row.user_id,
                email: row.email,
                name: row.name,
                role: row.role.parse().map_err(unknown)?,
                can_view_payloads: row.can_view_payloads,
                teams: row.teams.into_iter().map(TeamId::from).collect(),
                status: row.status,
                version: row.version,
                created_at: row.created_at,
            })
        })
        .collect()
}

/// Changes what a member may do.
pub(crate) async fn update(
    tx: &mut TenantTx,
    user: UserId,
    role: Role,
    can_view_payloads: bool,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update gateway.membership
         set role = $3, can_view_payloads = $4, version = version + 1, updated_at = now()
         where tenant_id = $1 and user_id = $2",
        tenant as _,
        user as _,
        role.as_str(),
        can_view_payloads,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Ends a membership, and with it the places in teams.
pub(crate) async fn delete(tx: &mut TenantTx, user: UserId) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "delete from gateway.membership where tenant_id = $1 and user_id = $2",
        tenant as _,
        user as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// Whether there is an owner besides this one. The caller holds the tenant, so that two owners cannot leave past each
/// other.
pub(crate) async fn has_other_owner(tx: &mut TenantTx, user: UserId) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"select exists (select from gateway.membership
                          where tenant_id = $1 and role = 'owner' and user_id <> $2) as "other!""#,
        tenant as _,
        user as _,
    )
    .fetch_one(&mut **tx)
    .await
}
