//! Who is in which team.

use dbutil::{OnConstraint as _, TenantTx};
use shared_models::{TeamId, TenantId, UserId};

use crate::Error;

/// Puts a member into a team; does nothing when they are in it.
pub(crate) async fn insert(
    tx: &mut TenantTx,
    tenant: TenantId,
    team: TeamId,
    user: UserId,
) -> Result<(), Error> {
    let added: Result<(), sqlx::Error> = sqlx::query!(
        "insert into gateway.team_member (tenant_id, team_id, user_id) values ($1, $2, $3) on conflict do nothing",
        tenant as _,
        team as _,
        user as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop);
    match added.on_constraint::<Error>("team_member_membership_fkey", || Error::NoMember(user)) {
        Err(Error::Db(error)) => {
            Err(error).on_constraint("team_member_team_fkey", || Error::NoTeam(team))
        }
        other => other,
    }
}

/// Takes a member out of a team; says whether they were in it.
pub(crate) async fn delete(
    tx: &mut TenantTx,
    team: TeamId,
    user: UserId,
) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "delete from gateway.team_member where tenant_id = $1 and team_id = $2 and user_id = $3",
        tenant as _,
        team as _,
        user as _,
    )
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected() > 0)
}
