//! `GET /internal/runs/{run_id}/effects`

use axum::{Json, extract::State};
use servicekit::{Caller, Path, scope::AgentsLookup};
use shared_models::{ProblemBody, RunId};

use super::list_effects::EffectList;
use crate::{
    app::App,
    error::Error,
    store::{self, effect},
};

/// What a run did to the world.
///
/// For the service whose event started it: how far each call has come, and nothing of what was said.
#[utoipa::path(get, path = "/internal/runs/{run_id}/effects", tag = "internal",
    params(("run_id" = RunId, Path)),
    security(("token" = ["agents:lookup"])),
    responses((status = 200, body = EffectList), (status = "default", body = ProblemBody)))]
pub(crate) async fn lookup_effects(
    State(app): State<App>,
    caller: Caller<AgentsLookup>,
    Path(run_id): Path<RunId>,
) -> Result<Json<EffectList>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    store::run::find(&mut tx, run_id).await?.ok_or(Error::RunNotFound(run_id))?;
    let rows = effect::list(&mut tx, run_id).await?;
    Ok(Json(EffectList::of(rows, false)))
}
