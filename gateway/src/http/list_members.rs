//! `GET /v1/members`

use axum::{Json, extract::State};
use dbutil::{Page, PageQuery};
use serde::Deserialize;
use servicekit::{Caller, Params, Problem, scope::MembersRead};
use shared_models::{ProblemBody, Role, TeamId};

use crate::{
    App,
    store::{
        self,
        membership::{Filter, Member},
    },
};

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct MembersQuery {
    limit: Option<u32>,
    cursor: Option<String>,
    /// Only members with this role.
    role: Option<Role>,
    /// Only members of this team.
    team_id: Option<TeamId>,
    /// Part of the e-mail address or name.
    q: Option<String>,
}

/// List the tenant's members.
#[utoipa::path(get, path = "/v1/members", tag = "identity", params(MembersQuery),
    security(("token" = ["members:read"])),
    responses((status = 200, body = Page<Member>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_members(
    State(app): State<App>,
    caller: Caller<MembersRead>,
    Params(query): Params<MembersQuery>,
) -> Result<Json<Page<Member>>, Problem> {
    let page = PageQuery { limit: query.limit, cursor: query.cursor };
    let filter = Filter {
        user: None,
        team: query.team_id,
        role: query.role,
        text: query.q.as_deref(),
        after: page.after()?,
        limit: page.limit(),
    };
    let mut tx = app.db.begin(caller.tenant).await?;
    let members = store::membership::list_page(&mut tx, &filter).await?;
    tx.commit().await?;
    Ok(Json(Page::new(members, page.limit(), Member::position)))
}
