//! Test cases of agents. Whoever sees an agent sees its cases, and edits them if they may write.

mod create_case;
mod delete_case;
mod get_case;
mod keep_run;
mod list_cases;
mod update_case;

use dbutil::TenantTx;
use servicekit::Caller;
use shared_models::{AgentId, CaseId};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::App;
use crate::cases::CaseFields;
use crate::error::Error;
use crate::store;
use crate::visibility::Viewer;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create_case::create_case, list_cases::list_cases))
        .routes(routes!(get_case::get_case, update_case::update_case, delete_case::delete_case))
        .routes(routes!(keep_run::keep_run))
}

/// How many cases an agent may have: what one evaluation can run.
const MOST: i64 = 200;

/// Refuses an agent that the caller may not see.
pub(super) async fn visible<S>(
    tx: &mut TenantTx,
    caller: &Caller<S>,
    agent: AgentId,
) -> Result<store::agent::Agent, Error> {
    store::agent::find_visible(tx, &Viewer::of(caller), agent).await
}

/// How long an agent's cases may be together: every evaluation copies them.
const MOST_BYTES: i64 = 16 * 1024 * 1024;

/// Room for one more; holds the agent, so that nobody else takes it meanwhile.
async fn make_room(tx: &mut TenantTx, agent: AgentId, fields: &CaseFields) -> Result<(), Error> {
    store::agent::hold(tx, agent).await?;
    let (count, bytes) = store::case::taken(tx, agent, None).await?;
    if count >= MOST { Err(Error::CasesFull(MOST)) } else { fits(bytes, fields) }
}

/// Room for a case that is changed, of an agent that is held.
async fn keep_room(
    tx: &mut TenantTx,
    (agent, case): (AgentId, CaseId),
    fields: &CaseFields,
) -> Result<(), Error> {
    let (_, bytes) = store::case::taken(tx, agent, Some(case)).await?;
    fits(bytes, fields)
}

fn fits(others: i64, fields: &CaseFields) -> Result<(), Error> {
    let own = i64::try_from(fields.bytes()).unwrap_or(i64::MAX);
    if others.saturating_add(own) > MOST_BYTES { Err(Error::CasesTooLong) } else { Ok(()) }
}

fn check(fields: &CaseFields) -> Result<(), Error> {
    let errors = fields.check();
    if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
}
