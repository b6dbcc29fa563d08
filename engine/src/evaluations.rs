//! Trying an agent with its test cases.
//!
//! An evaluation is rows; what moves it on is a worker that reads them, holds the evaluation's row, and looks what has become
//! of its runs. Every case is a run, and so is every question to a model that judges: both go on by themselves after a crash,
//! are paid for as runs are, and can be looked at. Nothing is done outside the transaction but by them.

mod judge;
mod settle;

use std::time::Duration;

use anyhow::Context as _;
use dbutil::TenantTx;
use shared_models::{
    AgentStatus, CaseState, EvaluationId, EvaluationMode, EvaluationStatus, RunId, TenantId,
};

use crate::app::App;
use crate::cases::{CaseFields, Tools};
use crate::create::{self, NewRun};
use crate::error::Error;
use crate::snapshot::{self, RunSnapshot};
use crate::store::evaluation::{self, Evaluation};
use crate::store::evaluation_result::{self as result, Open};
use crate::template::Variables;

/// Moves an evaluation on as far as it goes now, unless another process does.
pub(crate) async fn advance(app: &App, tenant: TenantId, id: EvaluationId) -> Result<(), Error> {
    let mut tx = app.db.begin(tenant).await?;
    if !evaluation::take(&mut tx, id).await? {
        return Ok(());
    }
    let found = evaluation::find(&mut tx, id).await?.context("an evaluation that is held")?;
    let (mut left, mut under_way, mut made) = (0, 0, false);
    for open in result::open(&mut tx, id).await? {
        if open.state == CaseState::Pending.as_str() && under_way >= found.concurrency {
            left += 1;
            continue;
        }
        let step = alone(app, &mut tx, &found, &open).await?;
        made |= matches!(step, Step::Made);
        under_way += i32::from(matches!(step, Step::Made | Step::UnderWay));
        left += i32::from(!matches!(step, Step::Done));
    }
    if left == 0 {
        evaluation::end(&mut tx, id, EvaluationStatus::Finished).await?;
        tracing::info!(evaluation.id = %id, "the evaluation has finished");
    }
    tx.commit().await?;
    if made {
        app.announce().await;
    }
    Ok(())
}

/// Moves a case on. One that cannot be moved on holds up no other, is tried again as long as a case may take, and is given up
/// then.
async fn alone(
    app: &App,
    tx: &mut TenantTx,
    evaluation: &Evaluation,
    open: &Open,
) -> Result<Step, Error> {
    let place = (evaluation.evaluation_id, open.n);
    sqlx::query!("savepoint one_case").execute(&mut **tx).await?;
    let done = match open.state.parse() {
        Ok(CaseState::Pending) => begin(app, tx, evaluation, open.n).await,
        Ok(CaseState::Judging) => judge::heard(tx, evaluation, open).await,
        _ => settle::ended(app, tx, evaluation, open).await,
    };
    let error = match done {
        Ok(step) => {
            sqlx::query!("release savepoint one_case").execute(&mut **tx).await?;
            return Ok(step);
        }
        Err(error) => error,
    };
    sqlx::query!("rollback to savepoint one_case").execute(&mut **tx).await?;
    sqlx::query!("release savepoint one_case").execute(&mut **tx).await?;
    tracing::warn!(%error, evaluation.id = %place.0, case = place.1, "a case stays where it is for now");
    if !result::fails(tx, place, evaluation.deadline_seconds).await? {
        return Ok(Step::Waits);
    }
    let why = "it could not be moved on for longer than it may take";
    result::settle(tx, place, CaseState::Error, &[], Some(why)).await?;
    Ok(Step::Done)
}

/// What has become of a case just now.
enum Step {
    /// It cannot go on just now.
    Waits,
    /// A run was made for it.
    Made,
    UnderWay,
    Done,
}

/// Makes the case's run.
async fn begin(
    app: &App,
    tx: &mut TenantTx,
    evaluation: &Evaluation,
    n: i32,
) -> Result<Step, Error> {
    let id = evaluation.evaluation_id;
    let case = result::definition(tx, id, n).await?.context("a case that was not begun")?;
    match run(app, tx, evaluation, &case).await {
        Ok(run) => {
            result::begun(tx, id, n, run).await?;
            Ok(Step::Made)
        }
        Err(error) => {
            let why = refusal(error)?;
            let unknown = vec![None; case.expectations.len()];
            result::settle(tx, (id, n), CaseState::Error, &unknown, Some(&why)).await?;
            Ok(Step::Done)
        }
    }
}

async fn run(
    app: &App,
    tx: &mut TenantTx,
    evaluation: &Evaluation,
    case: &CaseFields,
) -> Result<RunId, Error> {
    let mut snapshot = agent(app, tx, evaluation).await?;
    snapshot.history.clone_from(&case.history);
    let tools = match evaluation.mode {
        EvaluationMode::AsSaved => case.tools,
        EvaluationMode::Recorded => Tools::Recorded,
        EvaluationMode::Live => Tools::Live,
    };
    snapshot.replay = case.replay(tools).map(Box::new);
    let mut new = of(evaluation, &snapshot, case.message());
    new.variables.clone_from(&case.variables);
    create::create(tx, &app.runs, &new, &snapshot).await?;
    Ok(new.run)
}

/// The version that is tried, if it may run.
async fn agent(
    app: &App,
    tx: &mut TenantTx,
    evaluation: &Evaluation,
) -> Result<RunSnapshot, Error> {
    let (agent, version) = (evaluation.agent_id, evaluation.agent_version);
    let found = snapshot::build(tx, agent, Some(version)).await?;
    let found = found.ok_or(Error::VersionNotFound(version))?;
    if found.status != AgentStatus::Active {
        return Err(Error::AgentNotActive(found.status.to_string()));
    }
    found.check_models(&app.models)?;
    Ok(found)
}

/// A run for the evaluation.
fn of(evaluation: &Evaluation, snapshot: &RunSnapshot, input: agentcore::Message) -> NewRun {
    let seconds = u64::try_from(evaluation.deadline_seconds).unwrap_or(1);
    NewRun {
        run: RunId::mint(),
        principal: snapshot.owner,
        initiator: Some(evaluation.initiator_id),
        firing: None,
        input,
        traceparent: None,
        deadline: Some(Duration::from_secs(seconds)),
        end_user: None,
        place: None,
        variables: Variables::new(),
        evaluation: Some(evaluation.evaluation_id),
    }
}

/// Why no run could be made; what may pass is an error still, and is tried again.
fn refusal(error: Error) -> Result<String, Error> {
    if let Error::Invalid(errors) = &error {
        return Ok(crate::template::sentence(errors));
    }
    match &error {
        Error::AgentNotFound(_)
        | Error::VersionNotFound(_)
        | Error::AgentNotActive(_)
        | Error::ModelUnavailable(_)
        | Error::CredentialRefused(_) => Ok(error.to_string()),
        _ => Err(error),
    }
}

/// Whether a run has ended, and where it stands.
async fn row(tx: &mut TenantTx, open: &Open) -> Result<Option<crate::store::run::Row>, Error> {
    match open.run {
        Some(run) => Ok(crate::store::run::find(tx, run).await?),
        None => Ok(None),
    }
}
