use axum::{Json, extract::State};
use servicekit::{Body, Caller, FieldError, Path, scope::RunsWrite};
use shared_models::{ProblemBody, RunId};

use super::BudgetView;
use crate::app::App;
use crate::budgets::RunCap;
use crate::definition::Budget;
use crate::error::Error;
use crate::http::runs::visible;
use crate::store::{agent, budget, budget_ledger, run};
use crate::visibility::Viewer;

/// Raise the budget of a run. One that waits for it goes on; what is not named stays as it is.
///
/// Beyond what the agent gives each of its runs only its owner and administrators raise it: 403 `not_owner` for others.
#[utoipa::path(post, path = "/v1/runs/{run_id}/budget", tag = "budgets", security(("token" = ["runs:write"])),
    params(("run_id" = RunId, Path)),
    request_body(content = Budget, example = json!({ "max_cost_micro_usd": 2_000_000 })),
    responses((status = 200, body = BudgetView), (status = "default", body = ProblemBody)))]
pub(crate) async fn raise_run_budget(
    State(app): State<App>,
    caller: Caller<RunsWrite>,
    Path(run_id): Path<RunId>,
    Body(raise): Body<Budget>,
) -> Result<Json<BudgetView>, Error> {
    caller.person()?;
    let errors = raise.check_limits("");
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    let (own, most) = own_budget(&app, &caller, run_id).await?;
    let (owner, id) = (Some(caller.tenant), own.id());
    let mut tx = app.db.system("a run waits for a budget that is raised").await?;
    budget_ledger::make_run_budgets(&mut tx, caller.tenant, &[&own]).await?;
    let row = budget::find_for_update(&mut tx, owner, id).await?;
    let limits = raised(&row.limits(), &raise).map_err(Error::Invalid)?;
    if most.is_some_and(|most| exceeds(&raise, &most)) {
        let why =
            "only the agent's owner or an administrator raises a run beyond the agent's own budget";
        return Err(Error::NotOwner(why.into()));
    }
    let rouse = budget::update(&mut tx, owner, id, &limits).await?;
    let row = budget::find(&mut tx, owner, id).await?;
    tx.commit().await?;
    tracing::info!(run = %run_id, by = ?caller.user(), ?limits, "a run's budget was raised");
    app.rouse(rouse).await;
    Ok(Json(row.into()))
}

/// The budget that the run began with, and how far the caller may raise it when not at will.
async fn own_budget(
    app: &App,
    caller: &Caller<RunsWrite>,
    run: RunId,
) -> Result<(RunCap, Option<Budget>), Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let row = visible(&mut tx, caller, run).await?;
    if row.status().terminal() {
        return Err(Error::RunEnded);
    }
    let snapshot = run::snapshot(&mut tx, run).await?.unwrap_or_default();
    let said = snapshot.get("budget").cloned().unwrap_or_default();
    let budget: Option<Budget> = serde_json::from_value(said).map_err(anyhow::Error::from)?;
    let budget = budget.filter(|budget| !budget.is_empty()).ok_or(Error::RunWithoutBudget)?;
    let most = if Viewer::of(caller).owns(row.agent_owner_id) {
        None
    } else {
        // An agent that is gone gives no more than it gave.
        let agent = agent::find(&mut tx, row.agent_id).await?;
        Some(agent.map_or_else(|| budget.clone(), |agent| agent.fields.budget))
    };
    Ok((RunCap { run, path: String::new(), budget }, most))
}

fn exceeds(raise: &Budget, most: &Budget) -> bool {
    let most = most.lines();
    raise
        .lines()
        .iter()
        .any(|(quantity, cap)| most.iter().any(|(of, most)| of == quantity && cap > most))
}

/// The limits with those raised that are named.
fn raised(limits: &Budget, raise: &Budget) -> Result<Budget, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut one = |pointer: &str, now: Option<i64>, wanted: Option<i64>| match (now, wanted) {
        (now, None) => now,
        (Some(now), Some(wanted)) if wanted > now => Some(wanted),
        (Some(now), Some(_)) => {
            errors.push(FieldError::new(pointer, format!("more than the {now} it is").as_str()));
            Some(now)
        }
        (None, Some(_)) => {
            errors.push(FieldError::new(pointer, "the run has no such limit"));
            None
        }
    };
    let raised = Budget {
        max_cost_micro_usd: one(
            "/max_cost_micro_usd",
            limits.max_cost_micro_usd,
            raise.max_cost_micro_usd,
        ),
        max_tokens: one("/max_tokens", limits.max_tokens, raise.max_tokens),
        max_tool_calls: one("/max_tool_calls", limits.max_tool_calls, raise.max_tool_calls),
        max_active_seconds: one(
            "/max_active_seconds",
            limits.max_active_seconds,
            raise.max_active_seconds,
        ),
    };
    if errors.is_empty() { Ok(raised) } else { Err(errors) }
}
