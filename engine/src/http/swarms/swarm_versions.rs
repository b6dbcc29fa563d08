//! `GET /v1/swarms/{swarm_id}/versions`, one of them, what it changed, and bringing it back

use axum::{Json, extract::State};
use dbutil::{Page, PageQuery};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use servicekit::{
    Caller, IfMatch, Params, Path, Tagged,
    scope::{AgentsRead, AgentsWrite},
};
use shared_models::{ProblemBody, SwarmId, VersionChange};

use super::{complete::complete, update_swarm::check_owner};
use crate::{
    app::App,
    error::Error,
    http::edge::{Difference, compare},
    store::{
        self,
        swarm::Swarm,
        swarm_edge,
        swarm_version::{self, SwarmVersion},
    },
    visibility::Viewer,
};

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListSwarmVersions {
    /// How many at most: 1 to 100, 50 unless said.
    limit: Option<u32>,
    /// Where the last page ended (`next_cursor`).
    cursor: Option<String>,
}

/// What a swarm was, newest first: each edit, by whom and when.
#[utoipa::path(get, path = "/v1/swarms/{swarm_id}/versions", tag = "swarms",
    params(("swarm_id" = SwarmId, Path), ListSwarmVersions),
    security(("token" = ["agents:read"])),
    responses((status = 200, body = Page<SwarmVersion>), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_swarm_versions(
    State(app): State<App>,
    caller: Caller<AgentsRead>,
    Path(swarm_id): Path<SwarmId>,
    Params(asked): Params<ListSwarmVersions>,
) -> Result<Json<Page<SwarmVersion>>, Error> {
    let page = PageQuery { limit: asked.limit, cursor: asked.cursor };
    let mut tx = app.db.begin(caller.tenant).await?;
    store::swarm::find_visible(&mut tx, &Viewer::of(&caller), swarm_id).await?;
    Ok(Json(swarm_version::list_page(&mut tx, swarm_id, &page).await?))
}

/// One version of a swarm.
#[utoipa::path(get, path = "/v1/swarms/{swarm_id}/versions/{version}", tag = "swarms",
    params(("swarm_id" = SwarmId, Path), ("version" = i32, Path)),
    security(("token" = ["agents:read"])),
    responses((status = 200, body = SwarmVersion), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_swarm_version(
    State(app): State<App>,
    caller: Caller<AgentsRead>,
    Path((swarm_id, version)): Path<(SwarmId, i32)>,
) -> Result<Json<SwarmVersion>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    store::swarm::find_visible(&mut tx, &Viewer::of(&caller), swarm_id).await?;
    let found = swarm_version::find(&mut tx, swarm_id, version).await?;
    found.map(Json).ok_or(Error::SwarmVersionNotFound(version))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AgainstSwarm {
    /// The other version; the one before unless said.
    against: Option<i32>,
}

/// What differs between two versions of a swarm.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct SwarmDiff {
    swarm_id: SwarmId,
    from: i32,
    to: i32,
    /// In the order of their pointers; empty when the versions are the same.
    changes: Vec<Difference>,
}

/// What an edit changed: a list of places, each with what was there and what is there.
#[utoipa::path(get, path = "/v1/swarms/{swarm_id}/versions/{version}/diff", tag = "swarms",
    params(("swarm_id" = SwarmId, Path), ("version" = i32, Path), AgainstSwarm),
    security(("token" = ["agents:read"])),
    responses((status = 200, body = SwarmDiff), (status = "default", body = ProblemBody)))]
pub(crate) async fn diff_swarm_versions(
    State(app): State<App>,
    caller: Caller<AgentsRead>,
    Path((swarm_id, to)): Path<(SwarmId, i32)>,
    Params(asked): Params<AgainstSwarm>,
) -> Result<Json<SwarmDiff>, Error> {
    let from = asked.against.unwrap_or_else(|| to.saturating_sub(1).max(1));
    let mut tx = app.db.begin(caller.tenant).await?;
    store::swarm::find_visible(&mut tx, &Viewer::of(&caller), swarm_id).await?;
    let mut documents: Vec<Value> = Vec::with_capacity(2);
    for version in [from, to] {
        let found = swarm_version::find(&mut tx, swarm_id, version).await?;
        let found = found.ok_or(Error::SwarmVersionNotFound(version))?;
        documents.push(serde_json::to_value(&found.fields).map_err(anyhow::Error::from)?);
    }
    let mut changes = Vec::new();
    if let [before, after] = documents.as_slice() {
        compare(before, after, String::new(), &mut changes);
    }
    Ok(Json(SwarmDiff { swarm_id, from, to, changes }))
}

/// Bring an earlier version of a swarm back.
///
/// That is a new version; nothing is lost. Whom the swarm is for stays as it is unless you are its owner or an
/// administrator.
#[utoipa::path(post, path = "/v1/swarms/{swarm_id}/versions/{version}/restore", tag = "swarms",
    params(("swarm_id" = SwarmId, Path), ("version" = i32, Path), ("If-Match" = Option<String>, Header)),
    security(("token" = ["agents:write"])),
    responses((status = 200, body = Swarm), (status = "default", body = ProblemBody)))]
pub(crate) async fn restore_swarm_version(
    State(app): State<App>,
    caller: Caller<AgentsWrite>,
    Path((swarm_id, version)): Path<(SwarmId, i32)>,
    if_match: IfMatch,
) -> Result<Tagged<Swarm>, Error> {
    let by = caller.person()?;
    let viewer = Viewer::of(&caller);
    let mut tx = app.db.begin(caller.tenant).await?;
    swarm_edge::hold(&mut tx).await?;
    let swarm = store::swarm::find_for_update(&mut tx, &viewer, swarm_id).await?;
    if_match.check(swarm.version)?;
    let wanted = swarm_version::find(&mut tx, swarm_id, version).await?;
    let mut fields = wanted.ok_or(Error::SwarmVersionNotFound(version))?.fields;
    if !viewer.owns(swarm.owner) {
        (fields.scope, fields.team_id) = (swarm.fields.scope, swarm.fields.team_id);
    }
    check_owner(&viewer, &swarm, &fields)?;
    let fields = complete(&mut tx, &caller, fields, Some(&swarm)).await?;
    let swarm = store::swarm::update(&mut tx, &swarm, by, &fields, VersionChange::Restored).await?;
    tx.commit().await?;
    Ok(Tagged(swarm.version, swarm))
}
