//! `GET /internal/members/{user_id}`

use axum::{Json, extract::State};
use serde::Serialize;
use servicekit::{Caller, Path, Problem, scope::IdentityRead};
use shared_models::{ProblemBody, Role, TeamId, UserId};

use super::found;
use crate::{App, store};

/// What somebody is in a tenant right now.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Standing {
    role: Role,
    /// Whether they may see content.
    payloads: bool,
    teams: Vec<TeamId>,
    /// `active` or `disabled`.
    status: String,
}

/// Is somebody still a member of the token's tenant, and as what?
#[utoipa::path(get, path = "/internal/members/{user_id}", tag = "internal", params(("user_id" = UserId, Path)),
    security(("token" = ["identity:read"])),
    responses((status = 200, body = Standing), (status = "default", body = ProblemBody)))]
pub(crate) async fn find_member(
    State(app): State<App>,
    caller: Caller<IdentityRead>,
    Path(user): Path<UserId>,
) -> Result<Json<Standing>, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let member = store::membership::find(&mut tx, user).await?;
    tx.commit().await?;
    let member = found(member, user)?;
    Ok(Json(Standing {
        role: member.role,
        payloads: member.can_view_payloads,
        teams: member.teams,
        status: member.status,
    }))
}
