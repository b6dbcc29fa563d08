//! `GET /v1/swarms/{swarm_id}`

use axum::extract::State;
use servicekit::{Caller, Path, Tagged, scope::AgentsRead};
use shared_models::{ProblemBody, SwarmId};

use crate::{
    app::App,
    error::Error,
    store::{self, swarm::Swarm},
    visibility::Viewer,
};

/// One swarm. Its `ETag` is its version.
#[utoipa::path(get, path = "/v1/swarms/{swarm_id}", tag = "swarms",
    params(("swarm_id" = SwarmId, Path)),
    security(("token" = ["agents:read"])),
    responses((status = 200, body = Swarm), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_swarm(
    State(app): State<App>,
    caller: Caller<AgentsRead>,
    Path(swarm_id): Path<SwarmId>,
) -> Result<Tagged<Swarm>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let swarm = store::swarm::find_visible(&mut tx, &Viewer::of(&caller), swarm_id).await?;
    Ok(Tagged(swarm.version, swarm))
}
