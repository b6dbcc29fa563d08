use axum::{Json, extract::State};
use serde::{Deserialize as _, Serialize};
use serde_json::Value;
use servicekit::{Caller, Path, Problem, scope::RunsRead};
use shared_models::{AgentId, MicroUsd, ProblemBody, RunId, Usage};
use utoipa::ToSchema;

use super::visible;
use crate::app::App;
use crate::store::run_cost;

/// What was used up.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct Spent {
    usage: Usage,
    /// Null when one of the models has no price.
    cost_micro_usd: Option<MicroUsd>,
    /// Replies of models.
    model_calls: i64,
    /// Calls of tools that were begun.
    tool_calls: i64,
}

/// What a run has used up, with all that work for it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RunCost {
    run_id: RunId,
    /// By the run and all below it, however many they are.
    total: Spent,
    /// By each of them itself, the oldest first; at most 1000.
    runs: Vec<RunSpent>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
struct RunSpent {
    run_id: RunId,
    /// The run it works for.
    parent_run_id: Option<RunId>,
    agent_id: AgentId,
    agent_name: String,
    #[serde(flatten)]
    spent: Spent,
}

/// See what a run has used up so far, itself and by the runs that work for it at every depth: tokens, money, calls of models and
/// of tools.
#[utoipa::path(get, path = "/v1/runs/{run_id}/cost", tag = "runs", security(("token" = ["runs:read"])),
    params(("run_id" = RunId, Path)),
    responses((status = 200, body = RunCost), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_run_cost(
    State(app): State<App>,
    caller: Caller<RunsRead>,
    Path(run_id): Path<RunId>,
) -> Result<Json<RunCost>, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    visible(&mut tx, &caller, run_id).await?;
    let total = run_cost::total(&mut tx, run_id).await?;
    let rows = run_cost::tree(&mut tx, run_id).await?;
    drop(tx);
    let runs = rows.into_iter().map(|row| RunSpent {
        spent: Spent::new(&row.usage, row.cost, row.steps.into(), row.tool_calls),
        run_id: row.run_id,
        parent_run_id: row.parent_run_id,
        agent_id: row.agent_id,
        agent_name: row.agent_name,
    });
    let total = Spent::new(&total.usage, total.cost, total.steps, total.tool_calls);
    Ok(Json(RunCost { run_id, total, runs: runs.collect() }))
}

impl Spent {
    fn new(
        usage: &Value,
        cost_micro_usd: Option<MicroUsd>,
        model_calls: i64,
        tool_calls: i64,
    ) -> Self {
        let usage = Usage::deserialize(usage).unwrap_or_default();
        Self { usage, cost_micro_usd, model_calls, tool_calls }
    }
}
