//! `PATCH /v1/swarms/{swarm_id}`

use axum::extract::State;
use serde_json::Value;
use servicekit::{Body, Caller, IfMatch, Path, Tagged, merge_patch, scope::AgentsWrite};
use shared_models::{AgentScope, ProblemBody, SwarmId, VersionChange};

use super::complete::{complete, make_agents};
use crate::{
    app::App,
    error::Error,
    store::{self, swarm::Swarm, swarm_edge},
    swarm::SwarmFields,
    visibility::Viewer,
};

/// Change a swarm.
///
/// A JSON Merge Patch (RFC 7396): `null` takes a field back to its default, and a list is replaced as a whole. Every change
/// is a new version; runs that are under way keep theirs, with the members as they were. With `If-Match`, a version that
/// somebody else has changed meanwhile is not overwritten.
#[utoipa::path(patch, path = "/v1/swarms/{swarm_id}", tag = "swarms",
    params(("swarm_id" = SwarmId, Path), ("If-Match" = Option<String>, Header)),
    request_body(content = Object, content_type = "application/merge-patch+json"),
    security(("token" = ["agents:write"])),
    responses((status = 200, body = Swarm), (status = "default", body = ProblemBody)))]
pub(crate) async fn update_swarm(
    State(app): State<App>,
    caller: Caller<AgentsWrite>,
    Path(swarm_id): Path<SwarmId>,
    if_match: IfMatch,
    Body(patch): Body<Value>,
) -> Result<Tagged<Swarm>, Error> {
    let by = caller.person()?;
    let viewer = Viewer::of(&caller);
    let mut tx = app.db.begin(caller.tenant).await?;
    swarm_edge::hold(&mut tx).await?;
    let swarm = store::swarm::find_for_update(&mut tx, &viewer, swarm_id).await?;
    if_match.check(swarm.version)?;
    let mut fields: SwarmFields = merge_patch(&swarm.fields, &patch)?;
    if fields.scope == AgentScope::User && patch.get("team_id").is_none() {
        fields.team_id = None;
    }
    check_owner(&viewer, &swarm, &fields)?;
    let mut fields = complete(&mut tx, &caller, fields, Some(&swarm)).await?;
    let made = make_agents(&mut tx, &caller, by, &mut fields).await?;
    for agent in made {
        store::swarm::made_agent(&mut tx, swarm_id, agent).await?;
    }
    if fields == swarm.fields {
        return Ok(Tagged(swarm.version, swarm));
    }
    let swarm = store::swarm::update(&mut tx, &swarm, by, &fields, VersionChange::Edited).await?;
    tx.commit().await?;
    Ok(Tagged(swarm.version, swarm))
}

/// Whom a swarm is for is its owner's to say.
pub(super) fn check_owner(
    viewer: &Viewer,
    swarm: &Swarm,
    fields: &SwarmFields,
) -> Result<(), Error> {
    let as_before = (swarm.fields.scope, swarm.fields.team_id) == (fields.scope, fields.team_id);
    if as_before || viewer.owns(swarm.owner) {
        return Ok(());
    }
    let why = "only its owner or an administrator says whom a swarm is for";
    Err(Error::NotOwner(why.into()))
}
