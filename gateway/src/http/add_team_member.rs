//! `POST /v1/teams/{team_id}/members`

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use servicekit::{Body, Caller, Created, Once, Path, Problem, scope::MembersWrite};
use shared_models::{ProblemBody, TeamId, UserId};

use super::{Changer, found};
use crate::{
    App, Error,
    origin::Origin,
    store::{self, membership::Member},
};

/// Who joins.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTeamMember {
    /// A member of the tenant.
    user_id: UserId,
}

/// Put a member into a team.
///
/// Whoever is in the team already stays in it.
#[utoipa::path(post, path = "/v1/teams/{team_id}/members", tag = "identity", request_body = NewTeamMember,
    params(("team_id" = TeamId, Path), ("Idempotency-Key" = Option<String>, Header)),
    security(("token" = ["members:write"])),
    responses((status = 201, body = Member), (status = "default", body = ProblemBody)))]
pub(crate) async fn add_team_member(
    State(app): State<App>,
    caller: Caller<MembersWrite>,
    origin: Origin,
    Path(team): Path<TeamId>,
    mut once: Once,
    Body(new): Body<NewTeamMember>,
) -> Result<Response, Problem> {
    let (tenant, user) = (caller.tenant, new.user_id);
    let mut tx = app.db.begin(tenant).await?;
    if let Some(answer) = once.begin(&mut tx, &caller, &new).await? {
        return Ok(answer);
    }
    store::team::find(&mut tx, team).await?.ok_or(Error::NoTeam(team))?;
    if store::membership::find(&mut tx, user).await?.is_none() {
        return Err(Error::field("/user_id", "is no member of the tenant").into());
    }
    store::team_member::insert(&mut tx, tenant, team, user).await?;
    let detail = json!({ "user_id": user });
    let changer = Changer::new(&caller, origin);
    store::audit::append(&mut tx, tenant, changer.by(), "team.member_added", team, &detail).await?;
    let member = found(store::membership::find(&mut tx, user).await?, user)?;
    once.remember(&mut tx, StatusCode::CREATED, &member).await?;
    tx.commit().await?;
    app.keys.forget();
    Ok(Created(member).into_response())
}
