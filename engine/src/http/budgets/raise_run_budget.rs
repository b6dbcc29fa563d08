use agentcore::swarm::Path as MemberPath;
use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use servicekit::{Body, Caller, FieldError, Path, scope::RunsWrite};
use shared_models::{ProblemBody, RunId};
use utoipa::ToSchema;

use super::BudgetView;
use crate::app::App;
use crate::budgets::RunCap;
use crate::call_key;
use crate::definition::Budget;
use crate::error::Error;
use crate::http::runs::visible;
use crate::snapshot::RunSnapshot;
use crate::store::{agent, budget, budget_edit, budget_ledger, run};
use crate::visibility::Viewer;

/// What a run may use up from now on; what is not named stays as it is.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raise {
    /// In a run of a swarm: the member whose budget it is, as `short_of` names it.
    #[serde(default)]
    #[schema(example = "research/facts")]
    path: Option<String>,
    /// Millionths of a dollar.
    #[serde(default)]
    #[schema(minimum = 1)]
    max_cost_micro_usd: Option<i64>,
    /// In and out.
    #[serde(default)]
    #[schema(minimum = 1)]
    max_tokens: Option<i64>,
    #[serde(default)]
    #[schema(minimum = 1)]
    max_tool_calls: Option<i64>,
    /// Time that models and tools are at work.
    #[serde(default)]
    #[schema(minimum = 1)]
    max_active_seconds: Option<i64>,
}

impl Raise {
    fn limits(&self) -> Budget {
        Budget {
            max_cost_micro_usd: self.max_cost_micro_usd,
            max_tokens: self.max_tokens,
            max_tool_calls: self.max_tool_calls,
            max_active_seconds: self.max_active_seconds,
        }
    }

    /// Empty for the run's own.
    fn path(&self) -> MemberPath {
        call_key::names(self.path.as_deref().unwrap_or_default()).into_iter().collect()
    }
}

/// Raise the budget of a run, or of a member in a run of a swarm. One that waits for it goes on; its journal says who has raised
/// it (`budget_changed`).
///
/// Beyond what the agent gives each of its runs only its owner and administrators raise it: 403 `not_owner` for others.
#[utoipa::path(post, path = "/v1/runs/{run_id}/budget", tag = "budgets", security(("token" = ["runs:write"])),
    params(("run_id" = RunId, Path)),
    request_body(content = Raise, example = json!({ "max_cost_micro_usd": 2_000_000 })),
    responses((status = 200, body = BudgetView), (status = "default", body = ProblemBody)))]
pub(crate) async fn raise_run_budget(
    State(app): State<App>,
    caller: Caller<RunsWrite>,
    Path(run_id): Path<RunId>,
    Body(asked): Body<Raise>,
) -> Result<Json<BudgetView>, Error> {
    let by = caller.person()?;
    let raise = asked.limits();
    let errors = raise.check_limits("");
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    let own = own_budget(&app, &caller, run_id, &asked.path()).await?;
    let (owner, id) = (Some(caller.tenant), own.cap.id());
    let mut tx = app.db.system("a run waits for a budget that is raised").await?;
    if own.exists() {
        budget_ledger::make_run_budgets(&mut tx, caller.tenant, &[&own.cap]).await?;
    }
    let held = budget_edit::find_for_update(&mut tx, owner, id).await;
    let (row, now) = held.map_err(|error| match error {
        Error::BudgetNotFound(_) => Error::MemberNotFound(own.cap.path.clone()),
        error => error,
    })?;
    let limits = raised(&row.limits(), &raise).map_err(Error::Invalid)?;
    if own.most.is_some_and(|most| exceeds(&raise, &most)) {
        let why =
            "only the agent's owner or an administrator raises a run beyond the agent's own budget";
        return Err(Error::NotOwner(why.into()));
    }
    let changed = row.changed(by, now, &limits);
    if !budget_edit::tell_run(&mut tx, (caller.tenant, run_id), changed).await? {
        return Err(Error::RunEnded);
    }
    let mut rouse = budget_edit::update(&mut tx, owner, id, &limits).await?;
    let row = budget::find(&mut tx, owner, id).await?;
    tx.commit().await?;
    tracing::info!(run = %run_id, %by, ?limits, "a run's budget was raised");
    if !rouse.runs.contains(&run_id) {
        rouse.runs.push(run_id);
    }
    app.rouse(rouse).await;
    Ok(Json(row.into()))
}

/// A budget that the run, or a member of it, begins with.
struct Own {
    cap: RunCap,
    /// How far the caller may raise it when not at will.
    most: Option<Budget>,
}

impl Own {
    /// Whether it is there even if nobody has drawn on it. The second time that a member works has a budget once it begins.
    fn exists(&self) -> bool {
        !self.cap.path.contains('#')
    }
}

async fn own_budget(
    app: &App,
    caller: &Caller<RunsWrite>,
    run: RunId,
    path: &MemberPath,
) -> Result<Own, Error> {
    let mut tx = app.db.begin(caller.tenant).await?;
    let row = visible(&mut tx, caller, run).await?;
    if row.status().terminal() {
        return Err(Error::RunEnded);
    }
    let snapshot = run::snapshot(&mut tx, run).await?.ok_or(Error::RunPruned(run))?;
    let snapshot: RunSnapshot = serde_json::from_value(snapshot).map_err(anyhow::Error::from)?;
    let (agent_id, agent_owner, budget) = if path.is_root() {
        (row.agent_id, row.agent_owner_id, snapshot.budget)
    } else {
        let swarm = snapshot.swarm.as_deref();
        let member = swarm.and_then(|swarm| swarm.agent_at(&swarm.plan, path));
        let member = member.ok_or_else(|| Error::MemberNotFound(path.to_string()))?;
        (member.agent_id, member.owner, member.budget.clone())
    };
    if budget.is_empty() {
        return Err(Error::RunWithoutBudget);
    }
    let most = if Viewer::of(caller).owns(agent_owner) {
        None
    } else {
        // An agent that is gone gives no more than it gave.
        let agent = agent::find(&mut tx, agent_id).await?;
        Some(agent.map_or_else(|| budget.clone(), |agent| agent.fields.budget))
    };
    Ok(Own { cap: RunCap { run, path: path.to_string(), budget }, most })
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
