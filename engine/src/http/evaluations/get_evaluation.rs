//! `GET /v1/evaluations/{evaluation_id}`

use axum::{Json, extract::State};
use serde::Serialize;
use servicekit::{Caller, Path, scope::RunsRead};
use shared_models::{CaseId, CaseState, EvaluationId, MicroUsd, ProblemBody, RunId, RunStatus};
use utoipa::ToSchema;

use super::visible;
use crate::app::App;
use crate::cases::expectation::Expectation;
use crate::error::Error;
use crate::store::evaluation::Evaluation;
use crate::store::evaluation_result::{self, Row};

/// An evaluation with everything that became of its cases.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Report {
    #[serde(flatten)]
    evaluation: Evaluation,
    /// Whether what was expected, and why it is not so, is withheld, because the caller may not see content.
    redacted: bool,
    results: Vec<CaseResult>,
}

/// What became of a case.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct CaseResult {
    n: i32,
    case_id: CaseId,
    case_name: String,
    state: CaseState,
    /// Why it could not be run or judged, or how its run has failed.
    error: Option<String>,
    run_id: Option<RunId>,
    run_status: Option<RunStatus>,
    cost_micro_usd: Option<MicroUsd>,
    duration_ms: Option<i64>,
    expectations: Vec<Expected>,
}

/// What became of an expectation.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Expected {
    expectation: Option<Expectation>,
    /// None as long as it is not known, or when nobody could say.
    passed: Option<bool>,
    /// Why not; or the reason of the model that has judged.
    detail: Option<String>,
    /// The run in which a model was asked.
    judge_run_id: Option<RunId>,
}

impl CaseResult {
    fn new(row: Row, payloads: bool) -> Self {
        let verdicts = row.verdicts.map(|verdicts| verdicts.0).unwrap_or_default();
        let details = row.details.map(|details| details.0).unwrap_or_default();
        let judges = row.judges.map(|judges| judges.0).unwrap_or_default();
        let expected = |(place, expectation): (usize, Expectation)| Expected {
            expectation: payloads.then_some(expectation),
            passed: verdicts.get(place).copied().flatten(),
            detail: details.get(place).cloned().flatten().filter(|_| payloads),
            judge_run_id: judges.iter().find(|judge| judge.place == place).map(|judge| judge.run),
        };
        Self {
            n: row.n,
            case_id: row.case_id,
            case_name: row.case_name,
            state: row.state.parse().unwrap_or(CaseState::Error),
            error: row.error.filter(|_| payloads),
            run_id: row.run_id,
            run_status: row.run_status.and_then(|status| status.parse().ok()),
            cost_micro_usd: row.cost,
            duration_ms: row.took_ms,
            expectations: row.expectations.0.into_iter().enumerate().map(expected).collect(),
        }
    }
}

/// See how an evaluation goes, case by case and expectation by expectation.
#[utoipa::path(get, path = "/v1/evaluations/{evaluation_id}", tag = "evaluations",
    params(("evaluation_id" = EvaluationId, Path)),
    security(("token" = ["runs:read"])),
    responses((status = 200, body = Report), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_evaluation(
    State(app): State<App>,
    caller: Caller<RunsRead>,
    Path(evaluation_id): Path<EvaluationId>,
) -> Result<Json<Report>, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let evaluation = visible(&mut tx, &caller, evaluation_id).await?;
    let rows = evaluation_result::list(&mut tx, evaluation_id).await?;
    let shown = |row| CaseResult::new(row, caller.payloads);
    let results = rows.into_iter().map(shown).collect();
    Ok(Json(Report { evaluation, redacted: !caller.payloads, results }))
}
