//! The cases of an evaluation and what became of them. Written by whoever holds the evaluation.

use std::collections::HashSet;

use dbutil::TenantTx;
use serde::{Deserialize, Serialize};
use shared_models::{AgentId, CaseId, CaseState, EvaluationId, MicroUsd, RunId};
use sqlx::types::{Json, Uuid};

use crate::cases::CaseFields;
use crate::cases::expectation::{Expectation, Verdict};

/// A model's run that says whether an expectation is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Judge {
    /// Which expectation.
    pub(crate) place: usize,
    pub(crate) run: RunId,
}

/// A case that is not done with.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) n: i32,
    pub(crate) state: String,
    pub(crate) run: Option<RunId>,
    pub(crate) judges: Option<Json<Vec<Judge>>>,
}

/// A case with all that became of it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) n: i32,
    pub(crate) case_id: CaseId,
    pub(crate) case_name: String,
    pub(crate) state: String,
    pub(crate) expectations: Json<Vec<Expectation>>,
    pub(crate) judges: Option<Json<Vec<Judge>>>,
    /// Whether each expectation is met; null where nobody could say.
    pub(crate) verdicts: Option<Json<Vec<Option<bool>>>>,
    pub(crate) details: Option<Json<Vec<Option<String>>>>,
    pub(crate) error: Option<String>,
    pub(crate) run_id: Option<RunId>,
    pub(crate) run_status: Option<String>,
    pub(crate) cost: Option<MicroUsd>,
    pub(crate) took_ms: Option<i64>,
}

/// Adds the agent's cases as they are now, by their age: all of them or these. Says which.
pub(crate) async fn insert(
    tx: &mut TenantTx,
    evaluation: EvaluationId,
    agent: AgentId,
    only: Option<&[CaseId]>,
) -> Result<HashSet<CaseId>, sqlx::Error> {
    let tenant = tx.tenant();
    let only: Option<Vec<Uuid>> = only.map(|ids| ids.iter().map(|id| id.uuid()).collect());
    let added = sqlx::query_scalar!(
        r#"insert into engine.evaluation_result
               (evaluation_id, n, tenant_id, case_id, case_name, definition, expectations)
           select $1, (row_number() over (order by c.created_at, c.case_id))::int, c.tenant_id, c.case_id, c.name, c.definition,
                  c.definition -> 'expectations'
           from engine.agent_case c
           where c.tenant_id = $2 and c.agent_id = $3 and ($4::uuid[] is null or c.case_id = any ($4))
           returning case_id as "case_id: CaseId""#,
        evaluation as _,
        tenant as _,
        agent as _,
        only.as_deref(),
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(added.into_iter().collect())
}

/// What is not done with, in order.
pub(crate) async fn open(
    tx: &mut TenantTx,
    evaluation: EvaluationId,
) -> Result<Vec<Open>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Open,
        r#"select n, state, run_id as "run: RunId", judges as "judges: Json<Vec<Judge>>"
           from engine.evaluation_result
           where tenant_id = $1 and evaluation_id = $2 and state in ('pending', 'running', 'judging') order by n"#,
        tenant as _,
        evaluation as _,
    )
    .fetch_all(&mut **tx)
    .await
}

/// The case as it was when the evaluation was asked for.
pub(crate) async fn definition(
    tx: &mut TenantTx,
    evaluation: EvaluationId,
    n: i32,
) -> Result<Option<CaseFields>, sqlx::Error> {
    let tenant = tx.tenant();
    let found = sqlx::query_scalar!(
        r#"select definition as "definition: Json<CaseFields>" from engine.evaluation_result
           where tenant_id = $1 and evaluation_id = $2 and n = $3"#,
        tenant as _,
        evaluation as _,
        n,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(found.flatten().map(|fields| fields.0))
}

pub(crate) async fn expectations(
    tx: &mut TenantTx,
    evaluation: EvaluationId,
    n: i32,
) -> Result<Vec<Expectation>, sqlx::Error> {
    let tenant = tx.tenant();
    let found = sqlx::query_scalar!(
        r#"select expectations as "expectations: Json<Vec<Expectation>>" from engine.evaluation_result
           where tenant_id = $1 and evaluation_id = $2 and n = $3"#,
        tenant as _,
        evaluation as _,
        n,
    )
    .fetch_one(&mut **tx)
    .await?;
    Ok(found.0)
}

/// The case is being run.
pub(crate) async fn begun(
    tx: &mut TenantTx,
    evaluation: EvaluationId,
    n: i32,
    run: RunId,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query!(
        "update engine.evaluation_result set state = 'running', run_id = $4, definition = null, failing_since = null
         where tenant_id = $1 and evaluation_id = $2 and n = $3",
        tenant as _,
        evaluation as _,
        n,
        run as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// The case could not be moved on; says whether that has been so for too long.
pub(crate) async fn fails(
    tx: &mut TenantTx,
    (evaluation, n): (EvaluationId, i32),
    patience_seconds: i32,
) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"update engine.evaluation_result set failing_since = coalesce(failing_since, now())
           where tenant_id = $1 and evaluation_id = $2 and n = $3
           returning failing_since < now() - make_interval(secs => $4) as "too_long!""#,
        tenant as _,
        evaluation as _,
        n,
        f64::from(patience_seconds),
    )
    .fetch_one(&mut **tx)
    .await
}

/// Models are asked.
pub(crate) async fn judging(
    tx: &mut TenantTx,
    (evaluation, n): (EvaluationId, i32),
    judges: &[Judge],
    verdicts: &[Option<Verdict>],
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    let (met, details) = apart(verdicts);
    sqlx::query!(
        "update engine.evaluation_result set state = 'judging', judges = $4, verdicts = $5, details = $6, failing_since = null
         where tenant_id = $1 and evaluation_id = $2 and n = $3",
        tenant as _,
        evaluation as _,
        n,
        Json(judges) as _,
        Json(met) as _,
        Json(details) as _,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

/// What was said about the expectations before models were asked.
pub(crate) async fn verdicts(
    tx: &mut TenantTx,
    evaluation: EvaluationId,
    n: i32,
) -> Result<Vec<Option<Verdict>>, sqlx::Error> {
    let tenant = tx.tenant();
    let row = sqlx::query!(
        r#"select verdicts as "verdicts: Json<Vec<Option<bool>>>", details as "details: Json<Vec<Option<String>>>"
           from engine.evaluation_result where tenant_id = $1 and evaluation_id = $2 and n = $3"#,
        tenant as _,
        evaluation as _,
        n,
    )
    .fetch_one(&mut **tx)
    .await?;
    let met = row.verdicts.map(|met| met.0).unwrap_or_default();
    let mut details = row.details.map(|details| details.0).unwrap_or_default();
    details.resize(met.len(), None);
    let verdict = |(passed, detail): (Option<bool>, Option<String>)| {
        passed.map(|passed| Verdict { passed, detail })
    };
    Ok(met.into_iter().zip(details).map(verdict).collect())
}

/// The case is done with.
pub(crate) async fn settle(
    tx: &mut TenantTx,
    (evaluation, n): (EvaluationId, i32),
    state: CaseState,
    verdicts: &[Option<Verdict>],
    error: Option<&str>,
) -> Result<(), sqlx::Error> {
    let tenant = tx.tenant();
    let (met, details) = apart(verdicts);
    let error = error.map(|error| error.replace('\0', "\u{fffd}"));
    sqlx::query!(
        "update engine.evaluation_result
         set state = $4, verdicts = $5, details = $6, error = $7, definition = null, ended_at = now()
         where tenant_id = $1 and evaluation_id = $2 and n = $3",
        tenant as _,
        evaluation as _,
        n,
        state.as_str(),
        Json(met) as _,
        Json(details) as _,
        error,
    )
    .execute(&mut **tx)
    .await
    .map(drop)
}

type Apart = (Vec<Option<bool>>, Vec<Option<String>>);

fn apart(verdicts: &[Option<Verdict>]) -> Apart {
    let parts = verdicts.iter().map(|verdict| match verdict {
        Some(verdict) => (Some(verdict.passed), verdict.detail.clone()),
        None => (None, None),
    });
    parts.unzip()
}

/// All cases of an evaluation, in order.
pub(crate) async fn list(
    tx: &mut TenantTx,
    evaluation: EvaluationId,
) -> Result<Vec<Row>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Row,
        r#"select e.n, e.case_id as "case_id: CaseId", e.case_name, e.state,
                  e.expectations as "expectations: Json<Vec<Expectation>>", e.judges as "judges: Json<Vec<Judge>>",
                  e.verdicts as "verdicts: Json<Vec<Option<bool>>>", e.details as "details: Json<Vec<Option<String>>>",
                  e.error, e.run_id as "run_id: RunId", r.status as "run_status?",
                  r.cost_micro_usd as "cost: MicroUsd",
                  (extract(epoch from r.finished_at - r.started_at) * 1000)::bigint as took_ms
           from engine.evaluation_result e
           left join engine.run r on r.run_id = e.run_id and r.tenant_id = e.tenant_id
           where e.tenant_id = $1 and e.evaluation_id = $2 order by e.n"#,
        tenant as _,
        evaluation as _,
    )
    .fetch_all(&mut **tx)
    .await
}

/// The runs that are under way for the evaluation.
pub(crate) async fn runs(
    tx: &mut TenantTx,
    evaluation: EvaluationId,
) -> Result<Vec<RunId>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"select run_id as "run: RunId" from engine.run
           where tenant_id = $1 and evaluation_id = $2 and finished_at is null"#,
        tenant as _,
        evaluation as _,
    )
    .fetch_all(&mut **tx)
    .await
}
