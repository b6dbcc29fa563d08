//! `PATCH /v1/teams/{team_id}`

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use servicekit::{Body, Caller, IfMatch, Path, Problem, Tagged, merge_patch, scope::MembersWrite};
use shared_models::{ProblemBody, TeamId};

use super::{Changer, all_right, name};
use crate::{
    App, Error,
    origin::Origin,
    store::{self, team::Team},
};

/// What may be changed of a team.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TeamPatch {
    #[schema(required = false)]
    name: String,
}

/// Change a team (a merge patch).
#[utoipa::path(patch, path = "/v1/teams/{team_id}", tag = "identity", request_body = TeamPatch,
    params(("team_id" = TeamId, Path), ("If-Match" = Option<String>, Header)),
    security(("token" = ["members:write"])),
    responses((status = 200, body = Team, headers(("ETag" = String))), (status = "default", body = ProblemBody)))]
pub(crate) async fn update_team(
    State(app): State<App>,
    caller: Caller<MembersWrite>,
    origin: Origin,
    Path(id): Path<TeamId>,
    expected: IfMatch,
    Body(patch): Body<Value>,
) -> Result<Tagged<Team>, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let present = store::team::find(&mut tx, id).await?.ok_or(Error::NoTeam(id))?;
    expected.check(present.version)?;
    let before = TeamPatch { name: present.name };
    let wanted = merge_patch(&before, &patch)?;
    let mut errors = Vec::new();
    let called = name("/name", &wanted.name, &mut errors);
    all_right(errors)?;
    store::team::rename(&mut tx, id, &called).await?;
    let detail = json!({ "before": before, "after": { "name": called } });
    let changer = Changer::new(&caller, origin);
    store::audit::append(&mut tx, caller.tenant, changer.by(), "team.updated", id, &detail).await?;
    let changed = store::team::find(&mut tx, id).await?.ok_or(Error::NoTeam(id))?;
    tx.commit().await?;
    Ok(Tagged(changed.version, changed))
}
