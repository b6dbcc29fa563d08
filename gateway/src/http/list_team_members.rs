//! `GET /v1/teams/{team_id}/members`

use axum::{Json, extract::State};
use dbutil::{Page, PageQuery};
use servicekit::{Caller, Params, Path, Problem, scope::MembersRead};
use shared_models::{ProblemBody, TeamId};

use crate::{
    App, Error,
    store::{
        self,
        membership::{Filter, Member},
    },
};

/// List a team's members.
#[utoipa::path(get, path = "/v1/teams/{team_id}/members", tag = "identity",
    params(("team_id" = TeamId, Path), PageQuery), security(("token" = ["members:read"])),
    responses((status = 200, body = Page<Member>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_team_members(
    State(app): State<App>,
    caller: Caller<MembersRead>,
    Path(id): Path<TeamId>,
    Params(page): Params<PageQuery>,
) -> Result<Json<Page<Member>>, Problem> {
    let (after, limit) = (page.after()?, page.limit());
    let mut tx = app.db.begin(caller.tenant).await?;
    store::team::find(&mut tx, id).await?.ok_or(Error::NoTeam(id))?;
    let filter = Filter { team: Some(id), after, limit, ..Filter::default() };
    let members = store::membership::list_page(&mut tx, &filter).await?;
    tx.commit().await?;
    Ok(Json(Page::new(members, limit, Member::position)))
}
