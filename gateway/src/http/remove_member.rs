//! `DELETE /v1/members/{user_id}`

use axum::{extract::State, http::StatusCode};
use serde_json::json;
use servicekit::{Caller, Path, Problem, scope::MembersWrite};
use shared_models::{ProblemBody, Role, UserId, events::tenant::MemberRemoved};

use super::{Changer, check_may_change, found};
use crate::{App, Error, origin::Origin, store};

/// End a membership.
///
/// The member's API keys for this tenant end with it, and credentials that are theirs alone are revoked. The last owner
/// cannot leave.
#[utoipa::path(delete, path = "/v1/members/{user_id}", tag = "identity", params(("user_id" = UserId, Path)),
    security(("token" = ["members:write"])),
    responses((status = 204), (status = "default", body = ProblemBody)))]
pub(crate) async fn remove_member(
    State(app): State<App>,
    caller: Caller<MembersWrite>,
    origin: Origin,
    Path(user): Path<UserId>,
) -> Result<StatusCode, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    store::tenant::hold(&mut tx).await?;
    let present = found(store::membership::find(&mut tx, user).await?, user)?;
    check_may_change(&caller, present.role, Role::Viewer)?;
    if present.role == Role::Owner && !store::membership::has_other_owner(&mut tx, user).await? {
        return Err(Error::LastOwner.into());
    }
    store::api_key::revoke_all_of(&mut tx, user).await?;
    store::membership::delete(&mut tx, user).await?;
    let detail = json!({ "role": present.role });
    let changer = Changer::new(&caller, origin);
    store::audit::append(&mut tx, caller.tenant, changer.by(), "member.removed", user, &detail)
        .await?;
    let removed = MemberRemoved { user_id: user, removed_by: caller.user() };
    pubsub::emit(&mut tx, &removed).await?;
    tx.commit().await?;
    app.relay.ring();
    app.keys.forget();
    Ok(StatusCode::NO_CONTENT)
}
