//! Runs over REST.

mod answer_effect;
mod answer_question;
mod cancel_run;
mod create_run;
mod follow_run;
mod get_run;
mod get_run_tree;
mod list_effects;
mod list_messages;
mod list_parked;
mod list_questions;
mod list_runs;
mod replay_parked;
mod watch;

use dbutil::TenantTx;
use servicekit::Caller;
use shared_models::{AgentScope, RunId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::error::Error;
use crate::store::run;
use crate::visibility::Viewer;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create_run::create_run, list_runs::list_runs))
        .routes(routes!(get_run::get_run))
        .routes(routes!(follow_run::follow_run))
        .routes(routes!(list_messages::list_messages))
        .routes(routes!(list_effects::list_effects))
        .routes(routes!(answer_effect::answer_effect))
        .routes(routes!(list_questions::list_questions, answer_question::answer_question))
        .routes(routes!(get_run_tree::get_run_tree))
        .routes(routes!(cancel_run::cancel_run))
        // firings that could not be taken
        .routes(routes!(list_parked::list_parked))
        .routes(routes!(replay_parked::replay_parked))
}

/// The run, if the caller may see it: as its agent could be seen when it began, or because they started it.
async fn visible<S>(tx: &mut TenantTx, caller: &Caller<S>, id: RunId) -> Result<run::Row, Error> {
    let row = run::find(tx, id).await?.ok_or(Error::RunNotFound(id))?;
    if sees(&Viewer::of(caller), &row) { Ok(row) } else { Err(Error::RunNotFound(id)) }
}

fn sees(viewer: &Viewer, row: &run::Row) -> bool {
    let scope = row.agent_scope.parse().unwrap_or(AgentScope::User);
    let started_it = viewer.user.is_some() && viewer.user == row.initiator_id;
    started_it || viewer.sees(scope, row.agent_owner_id, row.team_id)
}
