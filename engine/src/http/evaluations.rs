//! Trying agents with their test cases.

mod cancel_evaluation;
mod evaluate_agent;
mod get_evaluation;
mod list_evaluations;

use dbutil::TenantTx;
use servicekit::Caller;
use shared_models::EvaluationId;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::App;
use crate::error::Error;
use crate::http::cases;
use crate::store::evaluation::{self, Evaluation};

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(evaluate_agent::evaluate_agent))
        .routes(routes!(list_evaluations::list_evaluations))
        .routes(routes!(get_evaluation::get_evaluation))
        .routes(routes!(cancel_evaluation::cancel_evaluation))
}

/// The evaluation, if the caller may see its agent.
async fn visible<S>(
    tx: &mut TenantTx,
    caller: &Caller<S>,
    id: EvaluationId,
) -> Result<Evaluation, Error> {
    let found = evaluation::find(tx, id).await?.ok_or(Error::EvaluationNotFound(id))?;
    match cases::visible(tx, caller, found.agent_id).await {
        Err(Error::AgentNotFound(_)) => Err(Error::EvaluationNotFound(id)),
        Err(error) => Err(error),
        Ok(_) => Ok(found),
    }
}
