//! `POST /v1/evaluations/{evaluation_id}/cancel`

use anyhow::Context as _;
use axum::{Json, extract::State};
use servicekit::{Caller, Path, scope::RunsWrite};
use shared_models::{EvaluationId, EvaluationStatus, ProblemBody};

use super::visible;
use crate::app::App;
use crate::error::Error;
use crate::store::evaluation::{self, Evaluation};
use crate::store::evaluation_result;
use crate::tell_many;

/// Stop an evaluation: no more cases are begun, and runs that are under way for it are cancelled.
///
/// Asked again of one that was cancelled, it cancels what is still under way.
#[utoipa::path(post, path = "/v1/evaluations/{evaluation_id}/cancel", tag = "evaluations",
    params(("evaluation_id" = EvaluationId, Path)),
    security(("token" = ["runs:write"])),
    responses((status = 200, body = Evaluation), (status = "default", body = ProblemBody)))]
pub(crate) async fn cancel_evaluation(
    State(app): State<App>,
    caller: Caller<RunsWrite>,
    Path(evaluation_id): Path<EvaluationId>,
) -> Result<Json<Evaluation>, Error> {
    let by = caller.person()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    visible(&mut tx, &caller, evaluation_id).await?;
    // Whoever moves it on has finished when this is ours: what they began is seen below.
    evaluation::hold(&mut tx, evaluation_id).await?;
    let found = visible(&mut tx, &caller, evaluation_id).await?;
    if found.status == EvaluationStatus::Finished {
        return Err(Error::EvaluationEnded);
    }
    evaluation::end(&mut tx, evaluation_id, EvaluationStatus::Cancelled).await?;
    let runs = evaluation_result::runs(&mut tx, evaluation_id).await?;
    let found = evaluation::find(&mut tx, evaluation_id).await?;
    tx.commit().await?;
    tell_many::cancel(&app, caller.tenant, &runs, (Some(by), "its evaluation was cancelled"))
        .await?;
    Ok(Json(found.context("an evaluation that is held")?))
}
