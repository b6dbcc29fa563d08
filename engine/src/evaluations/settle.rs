//! What a case's run has come to.

use dbutil::TenantTx;
use shared_models::{CaseState, RunStatus};

use super::{Step, judge, row};
use crate::app::App;
use crate::cases::expectation::{Expectation, Observed, Verdict};
use crate::cases::{self, Called};
use crate::error::Error;
use crate::store::evaluation::Evaluation;
use crate::store::evaluation_result::{self as result, Open};
use crate::store::{run, run_cost};
use crate::transcript;

/// Looks whether the case's run has ended; if so, says what became of each expectation, or asks models to say.
pub(super) async fn ended(
    app: &App,
    tx: &mut TenantTx,
    evaluation: &Evaluation,
    open: &Open,
) -> Result<Step, Error> {
    let place = (evaluation.evaluation_id, open.n);
    let row = row(tx, open).await?;
    if row.as_ref().is_some_and(|row| !row.status().terminal()) {
        return Ok(Step::UnderWay);
    }
    let expectations = result::expectations(tx, place.0, place.1).await?;
    let unknown = vec![None; expectations.len()];
    let Some(row) = row else {
        let why = "its run has been forgotten";
        result::settle(tx, place, CaseState::Error, &unknown, Some(why)).await?;
        return Ok(Step::Done);
    };
    match row.status() {
        RunStatus::Succeeded => {}
        status => {
            let why = row.error.clone().unwrap_or_default();
            let why = format!("its run ended as {status}: {why}");
            let why = why.trim_end_matches([':', ' ']);
            // A model that cannot be reached says nothing about the agent.
            let state = match row.error_code.as_deref() {
                Some(code) if code.starts_with("model_") => CaseState::Error,
                _ => CaseState::Failed,
            };
            result::settle(tx, place, state, &unknown, Some(why)).await?;
            return Ok(Step::Done);
        }
    }
    let Some(seen) = observe(tx, &row).await? else {
        let why = "what was said in its run has been forgotten";
        result::settle(tx, place, CaseState::Error, &unknown, Some(why)).await?;
        return Ok(Step::Done);
    };
    let verdicts = verdicts(&expectations, &seen);
    if verdicts.iter().all(Option::is_some) {
        settle(tx, place, &verdicts).await?;
        return Ok(Step::Done);
    }
    judge::ask(app, tx, (evaluation, open.n), (&expectations, verdicts), &seen).await
}

/// All that a run shows.
pub(super) struct Seen {
    pub(super) input: Vec<agentcore::Message>,
    pub(super) calls: Vec<Called>,
    pub(super) output: String,
    cost: Option<shared_models::MicroUsd>,
    took_ms: u64,
}

/// None when it was forgotten.
async fn observe(tx: &mut TenantTx, row: &run::Row) -> Result<Option<Seen>, Error> {
    let (snapshot, told) = match transcript::read(tx, row.run_id, row.root_run_id).await {
        Ok(read) => read,
        Err(Error::RunPruned(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let said = told.messages();
    let said = said.get(snapshot.history.len()..).unwrap_or_default();
    let took = row.finished_at.zip(row.started_at.or(Some(row.created_at)));
    let took = took.map_or(0, |(end, start)| (end - start).num_milliseconds());
    Ok(Some(Seen {
        input: said.iter().take(1).cloned().collect(),
        calls: cases::calls(said),
        output: row.output.clone().unwrap_or_default(),
        cost: run_cost::total(tx, row.run_id).await?.cost,
        took_ms: u64::try_from(took).unwrap_or(0),
    }))
}

fn verdicts(expectations: &[Expectation], seen: &Seen) -> Vec<Option<Verdict>> {
    let Seen { calls, output, cost, took_ms, .. } = seen;
    let seen = Observed { calls, output, cost: *cost, took_ms: *took_ms };
    expectations.iter().map(|expectation| expectation.judge(&seen)).collect()
}

/// Everything is known.
pub(super) async fn settle(
    tx: &mut TenantTx,
    place: (shared_models::EvaluationId, i32),
    verdicts: &[Option<Verdict>],
) -> Result<(), Error> {
    let passed = verdicts.iter().flatten().all(|verdict| verdict.passed);
    let state = if passed { CaseState::Passed } else { CaseState::Failed };
    Ok(result::settle(tx, place, state, verdicts, None).await?)
}
