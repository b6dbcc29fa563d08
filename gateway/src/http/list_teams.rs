//! `GET /v1/teams`

use axum::{Json, extract::State};
use dbutil::{Page, PageQuery};
use servicekit::{Caller, Params, Problem, scope::MembersRead};
use shared_models::ProblemBody;

use crate::{
    App,
    store::{self, team::Team},
};

/// List the tenant's teams.
#[utoipa::path(get, path = "/v1/teams", tag = "identity", params(PageQuery),
    security(("token" = ["members:read"])),
    responses((status = 200, body = Page<Team>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_teams(
    State(app): State<App>,
    caller: Caller<MembersRead>,
    Params(page): Params<PageQuery>,
) -> Result<Json<Page<Team>>, Problem> {
    let after = page.after()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    let teams = store::team::list_page(&mut tx, after, page.limit()).await?;
    tx.commit().await?;
    Ok(Json(Page::new(teams, page.limit(), Team::position)))
}
