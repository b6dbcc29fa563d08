//! `GET /v1/members/{user_id}`

use axum::extract::State;
use servicekit::{Caller, Path, Problem, Tagged, scope::MembersRead};
use shared_models::{ProblemBody, UserId};

use super::found;
use crate::{
    App,
    store::{self, membership::Member},
};

/// One member.
#[utoipa::path(get, path = "/v1/members/{user_id}", tag = "identity", params(("user_id" = UserId, Path)),
    security(("token" = ["members:read"])),
    responses((status = 200, body = Member, headers(("ETag" = String))), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_member(
    State(app): State<App>,
    caller: Caller<MembersRead>,
    Path(user): Path<UserId>,
) -> Result<Tagged<Member>, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let member = store::membership::find(&mut tx, user).await?;
    tx.commit().await?;
    let member = found(member, user)?;
    Ok(Tagged(member.version, member))
}
