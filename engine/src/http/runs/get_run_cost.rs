use axum::{Json, extract::State};
use serde::Serialize;
use servicekit::{Caller, Path, Problem, scope::RunsRead};
use shared_models::{AgentId, MicroUsd, ProblemBody, RunId, Usage};
use utoipa::ToSchema;

use super::visible;
use crate::app::App;
use crate::store::run_cost::{self, Row};

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
    /// By the run and all below it.
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
    let rows = run_cost::tree(&mut tx, run_id).await?;
    drop(tx);
    let total = rows.iter().map(Spent::of).fold(Spent::NOTHING, Spent::and);
    let runs = rows.into_iter().map(|row| RunSpent {
        spent: Spent::of(&row),
        run_id: row.run_id,
        parent_run_id: row.parent_run_id,
        agent_id: row.agent_id,
        agent_name: row.agent_name,
    });
    Ok(Json(RunCost { run_id, total, runs: runs.collect() }))
}

impl Spent {
    const NOTHING: Self = Self {
        usage: Usage {
            input_tokens: 0,
            cache_read_tokens: 0,
            cache_write_tokens: 0,
            output_tokens: 0,
            reasoning_tokens: 0,
        },
        cost_micro_usd: Some(MicroUsd(0)),
        model_calls: 0,
        tool_calls: 0,
    };

    fn of(row: &Row) -> Self {
        Self {
            usage: serde_json::from_value(row.usage.clone()).unwrap_or_default(),
            cost_micro_usd: row.cost,
            model_calls: row.steps.into(),
            tool_calls: row.tool_calls,
        }
    }

    fn and(mut self, more: Self) -> Self {
        self.usage += more.usage;
        self.cost_micro_usd =
            self.cost_micro_usd.zip(more.cost_micro_usd).map(|(sum, more)| sum + more);
        self.model_calls += more.model_calls;
        self.tool_calls += more.tool_calls;
        self
    }
}
