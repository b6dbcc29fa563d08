//! `GET /internal/runs/{run_id}/effects`

use axum::{Json, extract::State};
use serde::Serialize;
use servicekit::{Caller, Path, scope::AgentsLookup};
use shared_models::{ProblemBody, RunId};
use utoipa::ToSchema;

use super::list_effects::{EffectView, view};
use crate::{
    app::App,
    error::Error,
    store::{self, effect},
};

/// Calls told at once: those of many runs stand in one timeline.
const MOST: usize = 200;

/// The first calls of a run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FirstEffects {
    items: Vec<EffectView>,
    /// Whether there are more.
    more: bool,
}

/// What a run did to the world: its first 200 calls.
///
/// For the service whose event started it: how far each call has come, and nothing of what was said.
#[utoipa::path(get, path = "/internal/runs/{run_id}/effects", tag = "internal",
    params(("run_id" = RunId, Path)),
    security(("token" = ["agents:lookup"])),
    responses((status = 200, body = FirstEffects), (status = "default", body = ProblemBody)))]
pub(crate) async fn lookup_effects(
    State(app): State<App>,
    caller: Caller<AgentsLookup>,
    Path(run_id): Path<RunId>,
) -> Result<Json<FirstEffects>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    store::run::find(&mut tx, run_id).await?.ok_or(Error::RunNotFound(run_id))?;
    let mut rows = effect::first(&mut tx, run_id, Some(MOST as i64 + 1)).await?;
    let more = rows.len() > MOST;
    rows.truncate(MOST);
    let items = rows.into_iter().map(|row| view(row, false)).collect();
    Ok(Json(FirstEffects { items, more }))
}
