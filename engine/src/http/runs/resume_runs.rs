//! Letting many runs go on.

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use servicekit::{Body, Caller, FieldError, Problem, scope::RunsWrite};
use shared_models::{ProblemBody, RunStatus};
use utoipa::ToSchema;

use super::cancel_runs::{MOST, Which};
use crate::app::App;
use crate::store::uncancelled;
use crate::tell_many;
use crate::visibility::Viewer;

/// What was done.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct Resumed {
    /// How many runs go on by this request: 500 at most.
    resumed: u64,
    /// There are more: ask again.
    more: bool,
}

/// Resume all paused runs that you may see and that a filter chooses, the oldest first, each as `…/resume` does. The only
/// `status` there is here is `paused`.
#[utoipa::path(post, path = "/v1/runs/resume", tag = "runs", security(("token" = ["runs:write"])), request_body = Which,
    responses((status = 202, body = Resumed), (status = "default", body = ProblemBody)))]
pub(crate) async fn resume_runs(
    State(app): State<App>,
    caller: Caller<RunsWrite>,
    Body(which): Body<Which>,
) -> Result<(StatusCode, Json<Resumed>), Problem> {
    let mut filter = which.filter()?;
    if filter.status.is_some_and(|status| status != RunStatus::Paused) {
        let error = FieldError::new("/status", "only runs that are `paused` can be resumed");
        return Err(Problem::validation(vec![error]));
    }
    filter.status = Some(RunStatus::Paused);
    let mut tx = app.db.begin(caller.tenant).await?;
    let mut runs = uncancelled::list(&mut tx, &Viewer::of(&caller), &filter, MOST).await?;
    drop(tx);
    let more = runs.len() as i64 > MOST;
    runs.truncate(MOST as usize);
    let resumed = tell_many::resume(&app, caller.tenant, &runs, caller.user()).await?;
    Ok((StatusCode::ACCEPTED, Json(Resumed { resumed, more })))
}
