//! `PATCH /v1/members/{user_id}`

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use servicekit::{Body, Caller, IfMatch, Path, Problem, Tagged, merge_patch, scope::MembersWrite};
use shared_models::{ProblemBody, Role, UserId};

use super::{Changer, check_may_change, found};
use crate::{
    App, Error,
    origin::Origin,
    store::{self, membership::Member},
};

/// What may be changed of a member.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemberPatch {
    #[schema(required = false)]
    role: Role,
    /// Whether they see content, or only that there is some.
    #[schema(required = false)]
    can_view_payloads: bool,
}

/// Change a member (a merge patch).
///
/// Only owners make, change and remove owners, and the last owner stays one.
#[utoipa::path(patch, path = "/v1/members/{user_id}", tag = "identity", request_body = MemberPatch,
    params(("user_id" = UserId, Path), ("If-Match" = Option<String>, Header)),
    security(("token" = ["members:write"])),
    responses((status = 200, body = Member, headers(("ETag" = String))), (status = "default", body = ProblemBody)))]
pub(crate) async fn update_member(
    State(app): State<App>,
    caller: Caller<MembersWrite>,
    origin: Origin,
    Path(user): Path<UserId>,
    expected: IfMatch,
    Body(patch): Body<Value>,
) -> Result<Tagged<Member>, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    store::tenant::hold(&mut tx).await?;
    let present = found(store::membership::find(&mut tx, user).await?, user)?;
    expected.check(present.version)?;
    let before = MemberPatch { role: present.role, can_view_payloads: present.can_view_payloads };
    let wanted = merge_patch(&before, &patch)?;
    check_may_change(&caller, before.role, wanted.role)?;
    let demotes = before.role == Role::Owner && wanted.role != Role::Owner;
    if demotes && !store::membership::has_other_owner(&mut tx, user).await? {
        return Err(Error::LastOwner.into());
    }
    store::membership::update(&mut tx, user, wanted.role, wanted.can_view_payloads).await?;
    let detail = json!({ "before": before, "after": wanted });
    let changer = Changer::new(&caller, origin);
    store::audit::append(&mut tx, caller.tenant, changer.by(), "member.updated", user, &detail)
        .await?;
    let changed = found(store::membership::find(&mut tx, user).await?, user)?;
    tx.commit().await?;
    app.keys.forget();
    Ok(Tagged(changed.version, changed))
}
