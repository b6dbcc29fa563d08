//! `GET /v1/teams/{team_id}`

use axum::extract::State;
use servicekit::{Caller, Path, Problem, Tagged, scope::MembersRead};
use shared_models::{ProblemBody, TeamId};

use crate::{
    App, Error,
    store::{self, team::Team},
};

/// One team.
#[utoipa::path(get, path = "/v1/teams/{team_id}", tag = "identity", params(("team_id" = TeamId, Path)),
    security(("token" = ["members:read"])),
    responses((status = 200, body = Team, headers(("ETag" = String))), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_team(
    State(app): State<App>,
    caller: Caller<MembersRead>,
    Path(id): Path<TeamId>,
) -> Result<Tagged<Team>, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let team = store::team::find(&mut tx, id).await?;
    tx.commit().await?;
    let team = team.ok_or(Error::NoTeam(id))?;
    Ok(Tagged(team.version, team))
}
