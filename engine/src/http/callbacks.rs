//! Where the other side of a call brings its answer.

use axum::{extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::Value;
use servicekit::{Body, FieldError, Path, Problem};
use shared_models::{ProblemBody, RunStatus};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::callbacks;
use crate::definition::unstorable;
use crate::error::Error;
use crate::store::signal::{self, Signal};
use crate::store::{callback, queue, run};

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(call_back))
}

/// What became of a call.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "result": { "receipt": 7 } }))]
pub(crate) struct CalledBack {
    /// What the model reads: text as it is, anything else as JSON.
    #[schema(value_type = Object)]
    result: Value,
    /// Whether it did not work.
    #[serde(default)]
    error: bool,
}

const LONGEST: usize = 256 * 1024;

/// Answer a call that was taken with 202. The token came with the call, in `Switchyard-Callback-Token`; it is all that is needed
/// and good for one answer.
#[utoipa::path(post, path = "/v1/callbacks/{token}", tag = "callbacks", security(()),
    params(("token" = String, Path)), request_body = CalledBack,
    responses((status = 202, description = "The run goes on with it."), (status = "default", body = ProblemBody)))]
pub(crate) async fn call_back(
    State(app): State<App>,
    Path(token): Path<String>,
    Body(back): Body<CalledBack>,
) -> Result<StatusCode, Problem> {
    let found = callback::by_token(&app.db, &callbacks::hash(&token)).await?;
    let (tenant, run, key) = found.ok_or(Error::CallbackNotFound)?;
    let text = match &back.result {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut errors = unstorable(&back.result, "/result");
    if text.len() > LONGEST {
        errors.push(FieldError::new("/result", "at most 256 KiB"));
    }
    if !errors.is_empty() {
        return Err(Problem::validation(errors));
    }
    let mut tx = app.db.begin(tenant).await?;
    // Held, so that of two answers, or of an answer and the end of its time, one comes first.
    if run::hold(&mut tx, run).await?.is_none_or(RunStatus::terminal) {
        return Err(Error::CallbackClosed("the run has ended").into());
    }
    let row = callback::find(&mut tx, run, &key).await?.ok_or(Error::CallbackNotFound)?;
    if row.answered {
        return Err(Error::CallbackClosed("the call has been answered").into());
    }
    if row.over {
        return Err(Error::CallbackClosed("the time for an answer is over").into());
    }
    callback::answer(&mut tx, (run, &key), (&text, back.error)).await?;
    signal::insert(&mut tx, run, &Signal::CalledBack { call_id: key }).await?;
    queue::wake(&mut tx, run).await?;
    tx.commit().await?;
    app.bell.ring_for(run).await;
    Ok(StatusCode::ACCEPTED)
}
