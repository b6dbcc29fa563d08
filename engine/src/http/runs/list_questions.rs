use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use servicekit::{Caller, Path, Problem, scope::RunsRead};
use shared_models::{ProblemBody, RunId};
use utoipa::ToSchema;

use super::visible;
use crate::app::App;
use crate::call_key;
use crate::store::question;

/// The questions of a run that nobody has answered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QuestionList {
    items: Vec<QuestionView>,
}

/// What a run wants to know from a person.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QuestionView {
    /// Who asks, in a tree of agents; empty for the run's own agent.
    path: Vec<String>,
    call_id: String,
    /// None for somebody who may not see content.
    question: Option<String>,
    /// JSON Schema that the answer must fit; any text will do without one.
    #[schema(value_type = Option<Object>)]
    answer: Option<Value>,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    asked_at: DateTime<Utc>,
}

/// List what a run asks people. It waits until each question has an answer.
#[utoipa::path(get, path = "/v1/runs/{run_id}/input", tag = "runs", security(("token" = ["runs:read"])),
    params(("run_id" = RunId, Path)),
    responses((status = 200, body = QuestionList), (status = "default", body = ProblemBody)))]
pub(crate) async fn list_questions(
    State(app): State<App>,
    caller: Caller<RunsRead>,
    Path(run_id): Path<RunId>,
) -> Result<Json<QuestionList>, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let row = visible(&mut tx, &caller, run_id).await?;
    if row.status().terminal() {
        return Ok(Json(QuestionList { items: Vec::new() }));
    }
    let open = question::open(&mut tx, run_id).await?;
    let open = open.into_iter().filter(|question| !question.answered);
    let items = open.map(|question| {
        let (path, call_id) = call_key::split(&question.key);
        QuestionView {
            path: call_key::names(path),
            call_id: call_id.to_owned(),
            question: Some(question.text).filter(|_| caller.payloads),
            answer: question.answer,
            asked_at: question.asked_at,
        }
    });
    Ok(Json(QuestionList { items: items.collect() }))
}
