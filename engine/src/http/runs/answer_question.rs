use axum::{extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::Value;
use servicekit::{Body, Caller, FieldError, Path, Problem, scope::RunsWrite};
use shared_models::{ProblemBody, RunId, RunStatus};
use utoipa::ToSchema;

use super::visible;
use crate::app::App;
use crate::call_key;
use crate::definition::unstorable;
use crate::error::Error;
use crate::store::question::{self, Question};
use crate::store::signal::{self, Signal};
use crate::store::{queue, run};

/// An answer to a question of a run.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "answer": "Yes, ship it." }))]
pub(crate) struct Input {
    /// Which question; not needed when there is only one.
    #[serde(default)]
    call_id: Option<String>,
    /// Who asks, in a run of a swarm; not needed when only one of its members asks with this `call_id`.
    #[serde(default)]
    path: Option<Vec<String>>,
    /// Text, or what the question's schema asks for.
    #[schema(value_type = Object)]
    answer: Value,
}

const LONGEST: usize = 64 * 1024;

/// Answer a question of a run. It goes on with the answer, wherever it was asked.
#[utoipa::path(post, path = "/v1/runs/{run_id}/input", tag = "runs", security(("token" = ["runs:write"])),
    params(("run_id" = RunId, Path)), request_body = Input,
    responses((status = 202, description = "The run will go on with it."), (status = "default", body = ProblemBody)))]
pub(crate) async fn answer_question(
    State(app): State<App>,
    caller: Caller<RunsWrite>,
    Path(run_id): Path<RunId>,
    Body(input): Body<Input>,
) -> Result<StatusCode, Problem> {
    let by = caller.person()?;
    let mut tx = app.db.begin(caller.tenant).await?;
    visible(&mut tx, &caller, run_id).await?;
    // Held, so that of two answers only one is taken.
    if run::hold(&mut tx, run_id).await?.is_none_or(RunStatus::terminal) {
        return Err(Error::RunEnded.into());
    }
    let question = which(question::open(&mut tx, run_id).await?, &input)?;
    if question.answered {
        return Err(Error::QuestionAnswered.into());
    }
    let text = check(&question, &input.answer)?;
    let signal = Signal::Answered { call_id: question.key, text, by };
    signal::insert(&mut tx, run_id, &signal).await?;
    queue::wake(&mut tx, run_id).await?;
    tx.commit().await?;
    app.bell.ring_for(run_id).await;
    Ok(StatusCode::ACCEPTED)
}

fn which(mut open: Vec<Question>, asked: &Input) -> Result<Question, Problem> {
    let path = asked.path.as_deref().map(call_key::path_of);
    open.retain(|question| {
        let (of, call_id) = call_key::split(&question.key);
        asked.call_id.as_deref().is_none_or(|asked| asked == call_id)
            && path.as_deref().is_none_or(|path| path == of)
    });
    if open.iter().filter(|question| !question.answered).count() > 1 {
        let pointer = if asked.call_id.is_some() { "/path" } else { "/call_id" };
        let why = "the run asks several questions: say which";
        return Err(Problem::validation(vec![FieldError::new(pointer, why)]));
    }
    // An answered one only when there is no other: it is refused by its own name.
    open.sort_by_key(|question| question.answered);
    open.into_iter().next().ok_or_else(|| Error::QuestionNotFound.into())
}

/// The answer as the model reads it.
fn check(question: &Question, answer: &Value) -> Result<String, Problem> {
    let mut errors = unstorable(answer, "/answer");
    let text = match (&question.answer, answer) {
        (Some(schema), answer) => {
            let text = answer.to_string();
            if let Err(why) = agentcore::check_arguments(schema, &text) {
                errors.push(FieldError::new("/answer", why.replace("the arguments", "the answer")));
            }
            answer.as_str().map_or(text, str::to_owned)
        }
        (None, Value::String(text)) => text.clone(),
        (None, other) => other.to_string(),
    };
    if text.len() > LONGEST {
        errors.push(FieldError::new("/answer", "at most 64 KiB"));
    }
    if errors.is_empty() { Ok(text) } else { Err(Problem::validation(errors)) }
}
