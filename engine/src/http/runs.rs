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
pub(crate) mod watch;

use agentcore::Message;
use dbutil::TenantTx;
use servicekit::Caller;
use shared_models::{AgentId, AgentScope, AgentStatus, RunId, TenantId, UserId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::create::{self, NewRun};
use crate::error::Error;
use crate::snapshot;
use crate::store::{self, run};
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

/// A run of an agent by somebody who talks to it elsewhere than at `/v1/runs`.
pub(crate) struct Start {
    /// The agent's name or id.
    pub(crate) agent: String,
    pub(crate) initiator: UserId,
    pub(crate) input: Message,
    /// What was said before.
    pub(crate) history: Vec<Message>,
}

/// Starts it; gives its row and when it began, in seconds since 1970.
pub(crate) async fn start(
    app: &App,
    viewer: &Viewer,
    tenant: TenantId,
    start: Start,
) -> Result<(run::Row, i64), Error> {
    let mut tx = app.db.begin(tenant).await?;
    let unknown = || Error::AgentNameNotFound(start.agent.clone());
    let agent_id = match start.agent.parse::<AgentId>() {
        Ok(id) => id,
        Err(_) if start.agent.contains('\0') => return Err(unknown()),
        Err(_) => run::agent_named(&mut tx, &start.agent).await?.ok_or_else(unknown)?,
    };
    store::agent::find_visible(&mut tx, viewer, agent_id).await.map_err(|_| unknown())?;
    let mut snapshot = snapshot::build(&mut tx, agent_id, None).await?.ok_or_else(unknown)?;
    if snapshot.status != AgentStatus::Active {
        return Err(Error::AgentNotActive(snapshot.status.to_string()));
    }
    snapshot.check_models(&app.models)?;
    snapshot.history = start.history;
    let new = NewRun {
        run: RunId::mint(),
        principal: snapshot.owner,
        initiator: Some(start.initiator),
        firing: None,
        input: start.input,
        traceparent: servicekit::trace::outgoing(),
        deadline: None,
    };
    create::create(&mut tx, &app.runs, &new, &snapshot).await?;
    let row = run::find(&mut tx, new.run).await?.ok_or(Error::RunNotFound(new.run))?;
    tx.commit().await?;
    app.announce().await;
    let created = row.created_at.timestamp();
    Ok((row, created))
}
