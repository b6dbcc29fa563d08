//! `DELETE /v1/teams/{team_id}/members/{user_id}`

use axum::{extract::State, http::StatusCode};
use serde_json::json;
use servicekit::{Caller, Path, Problem, scope::MembersWrite};
use shared_models::{ProblemBody, TeamId, UserId};

use super::Changer;
use crate::{App, Error, origin::Origin, store};

/// Take a member out of a team.
///
/// Nobody leaves the default team but by leaving the tenant.
#[utoipa::path(delete, path = "/v1/teams/{team_id}/members/{user_id}", tag = "identity",
    params(("team_id" = TeamId, Path), ("user_id" = UserId, Path)),
    security(("token" = ["members:write"])),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub(crate) async fn remove_team_member(
    State(app): State<App>,
    caller: Caller<MembersWrite>,
    origin: Origin,
    Path((team, user)): Path<(TeamId, UserId)>,
) -> Result<StatusCode, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let found = store::team::find(&mut tx, team).await?.ok_or(Error::NoTeam(team))?;
    if found.default {
        return Err(Error::DefaultTeam.into());
    }
    if !store::team_member::delete(&mut tx, team, user).await? {
        return Err(Error::NoMember(user).into());
    }
    let detail = json!({ "user_id": user });
    let changer = Changer::new(&caller, origin);
    store::audit::append(
        &mut tx,
        caller.tenant,
        changer.by(),
        "team.member_removed",
        team,
        &detail,
    )
    .await?;
    tx.commit().await?;
    app.keys.forget();
    Ok(StatusCode::NO_CONTENT)
}
