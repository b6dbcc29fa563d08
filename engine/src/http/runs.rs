//! Runs over REST.

mod answer_effect;
mod answer_question;
mod cancel_run;
mod cancel_runs;
mod create_run;
mod diff_lists;
mod diff_runs;
mod follow_run;
mod fork_run;
mod get_artifact;
mod get_run;
mod get_run_cost;
mod get_run_tree;
mod list_effects;
mod list_messages;
mod list_parked;
mod list_questions;
mod list_runs;
mod lookup_effects;
mod pause_run;
mod replay_parked;
mod resume_runs;
mod retry_run;
mod start_run;
pub(crate) mod watch;

use std::sync::Arc;

use agentcore::{Message, OutputForm};
use dbutil::TenantTx;
use serde_json::json;
use servicekit::{Caller, FieldError};
use shared_models::{AgentId, AgentScope, AgentStatus, ConversationId, RunId, UserId, WhenBusy};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::conversations;
use crate::create::{self, NewRun};
use crate::error::Error;
use crate::snapshot::{self, RunSnapshot};
use crate::store::{self, run};
use crate::template::Variables;
use crate::visibility::Viewer;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create_run::create_run, list_runs::list_runs))
        .routes(routes!(get_run::get_run))
        .routes(routes!(follow_run::follow_run))
        .routes(routes!(list_messages::list_messages))
        .routes(routes!(get_artifact::get_artifact))
        .routes(routes!(list_effects::list_effects))
        .routes(routes!(lookup_effects::lookup_effects))
        .routes(routes!(answer_effect::answer_effect))
        .routes(routes!(list_questions::list_questions, answer_question::answer_question))
        .routes(routes!(get_run_tree::get_run_tree))
        .routes(routes!(get_run_cost::get_run_cost))
        .routes(routes!(cancel_run::cancel_run))
        .routes(routes!(cancel_runs::cancel_runs))
        .routes(routes!(pause_run::pause_run))
        .routes(routes!(pause_run::resume_run))
        .routes(routes!(resume_runs::resume_runs))
        .routes(routes!(retry_run::retry_run))
        .routes(routes!(retry_run::get_run_links))
        .routes(routes!(fork_run::fork_run))
        .routes(routes!(diff_runs::diff_runs))
        // firings that could not be taken
        .routes(routes!(list_parked::list_parked))
        .routes(routes!(replay_parked::replay_parked))
}

/// The run, if the caller may see it: as its agent could be seen when it began, or because they started it.
pub(crate) async fn visible<S>(
    tx: &mut TenantTx,
    caller: &Caller<S>,
    id: RunId,
) -> Result<run::Row, Error> {
    let row = run::find(tx, id).await?.ok_or(Error::RunNotFound(id))?;
    if sees(&Viewer::of(caller), &row) { Ok(row) } else { Err(Error::RunNotFound(id)) }
}

pub(crate) fn sees(viewer: &Viewer, row: &run::Row) -> bool {
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
    pub(crate) end_user: Option<String>,
    /// What is said for the instructions.
    pub(crate) variables: Variables,
    /// What was said there takes the place of the history.
    pub(crate) conversation: Option<ConversationId>,
    pub(crate) when_busy: WhenBusy,
    /// The form that the answer should have, unless the agent's has one of its own.
    pub(crate) output: Option<Arc<OutputForm>>,
}

/// Starts it; gives its row, and which runs it interrupts.
pub(crate) async fn start(
    app: &App,
    tx: &mut TenantTx,
    viewer: &Viewer,
    start: Start,
) -> Result<(run::Row, Vec<RunId>), Error> {
    let unknown = || Error::AgentNameNotFound(start.agent.clone());
    let agent_id = match start.agent.parse::<AgentId>() {
        Ok(id) => id,
        Err(_) if start.agent.contains('\0') => return Err(unknown()),
        Err(_) => run::agent_named(tx, &start.agent).await?.ok_or_else(unknown)?,
    };
    store::agent::find_visible(tx, viewer, agent_id).await.map_err(|_| unknown())?;
    let mut snapshot = snapshot::build(tx, agent_id, None).await?.ok_or_else(unknown)?;
    if snapshot.status != AgentStatus::Active {
        return Err(Error::AgentNotActive(snapshot.status.to_string()));
    }
    snapshot.check_models(&app.models)?;
    give_form(&mut snapshot, start.output.as_deref())?;
    snapshot.history = start.history;
    let mut new = NewRun {
        run: RunId::mint(),
        principal: snapshot.owner,
        initiator: Some(start.initiator),
        firing: None,
        input: start.input,
        traceparent: servicekit::trace::outgoing(),
        deadline: None,
        end_user: start.end_user,
        place: None,
        variables: start.variables,
        evaluation: None,
    };
    let mut interrupted = Vec::new();
    if let Some(id) = start.conversation {
        let held = store::conversation::find_visible(tx, viewer, id).await?;
        if held.agent_id != agent_id {
            let why = "the conversation is held with another agent";
            return Err(Error::Invalid(vec![FieldError::new("/conversation_id", why)]));
        }
        let joined = conversations::join(tx, id, start.initiator, start.when_busy).await?;
        (new.place, snapshot.recalled) = (Some(joined.place), Some(joined.recalled));
        new.end_user = held.end_user_id.or(new.end_user);
        interrupted = joined.interrupted;
    }
    create::create(tx, &app.runs, &new, &snapshot).await?;
    let row = run::find(tx, new.run).await?.ok_or(Error::RunNotFound(new.run))?;
    Ok((row, interrupted))
}

/// The agent's own form holds; a request for any object is content with it.
fn give_form(snapshot: &mut RunSnapshot, asked: Option<&OutputForm>) -> Result<(), Error> {
    let Some(asked) = asked else { return Ok(()) };
    match &snapshot.output_schema {
        None => snapshot.output_schema = Some(asked.schema.clone()),
        Some(own) if *own == asked.schema || asked.schema == json!({ "type": "object" }) => {}
        Some(_) => {
            let why = "the agent's answer has a form of its own";
            return Err(Error::Invalid(vec![FieldError::new("/response_format", why)]));
        }
    }
    Ok(())
}
