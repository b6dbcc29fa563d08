//! Runs that were started by a call of another run.

use agentcore::Answer;
use chrono::{DateTime, Utc};
use dbutil::TenantTx;
use serde_json::Value;
use shared_models::{AgentId, EvaluationId, RunId, RunStatus, SwarmId, UserId, WorkerId};
use sqlx::types::Json;

use crate::store::run;
use crate::template::Variables;

/// One run of a tree, as it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) run: RunId,
    pub(crate) parent: Option<RunId>,
    pub(crate) parent_call_id: Option<String>,
    pub(crate) agent_id: AgentId,
    pub(crate) agent_name: String,
    pub(crate) swarm_id: Option<SwarmId>,
    pub(crate) swarm_name: Option<String>,
    pub(crate) root: RunId,
    pub(crate) status: String,
    pub(crate) mode: String,
    pub(crate) wait_reason: Option<String>,
    pub(crate) usage: Value,
    pub(crate) cost_micro_usd: i64,
    pub(crate) steps: i32,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) finished_at: Option<DateTime<Utc>>,
}

/// More of a tree is not shown.
pub(crate) const MOST_NODES: i64 = 1000;

/// A run and all that work for it, the oldest first.
pub(crate) async fn tree(tx: &mut TenantTx, run: RunId) -> Result<Vec<Node>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Node,
        r#"with recursive below as (
               select run_id from engine.run where tenant_id = $1 and run_id = $2
               union all
               select r.run_id from engine.run r join below b on r.parent_run_id = b.run_id
               where r.tenant_id = $1)
           select r.run_id as "run: RunId", r.parent_run_id as "parent: RunId", r.parent_call_id,
                  r.agent_id as "agent_id: AgentId", r.agent_name, r.swarm_id as "swarm_id: SwarmId",
                  r.swarm_name, r.root_run_id as "root: RunId", r.status, r.mode, r.wait_reason, r.usage,
                  coalesce(r.cost_micro_usd, 0) as "cost_micro_usd!",
                  r.steps, r.created_at, r.finished_at
           from below b join engine.run r on r.run_id = b.run_id
           order by r.created_at, r.run_id limit $3"#,
        tenant as _,
        run as _,
        MOST_NODES,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Where a run stands in its tree.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) root: RunId,
    /// How many runs stand above it.
    pub(crate) depth: i32,
    pub(crate) principal: UserId,
    pub(crate) initiator: Option<UserId>,
    /// How long it still may take; nothing below it may take longer.
    pub(crate) seconds_left: f64,
    /// The person it works for.
    pub(crate) end_user: Option<String>,
    /// What was said for the instructions when it was started.
    pub(crate) variables: Option<Json<Variables>>,
    pub(crate) evaluation: Option<EvaluationId>,
}

/// Where a run stands in its tree, and in whose name it acts.
pub(crate) async fn place(tx: &mut TenantTx, run: RunId) -> Result<Place, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        Place,
        r#"select root_run_id as "root: RunId", depth, principal_id as "principal: UserId",
                  initiator_id as "initiator: UserId",
                  greatest(extract(epoch from deadline_at - now()), 0)::float8 as "seconds_left!",
                  end_user_id as end_user, evaluation_id as "evaluation: EvaluationId",
                  (select s.snapshot -> 'variables' from engine.run_snapshot s
                   where s.tenant_id = $1 and s.run_id = $2) as "variables: Json<Variables>"
           from engine.run where tenant_id = $1 and run_id = $2"#,
        tenant as _,
        run as _,
    )
    .fetch_one(&mut **tx)
    .await
}

/// How a run ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) status: String,
    pub(crate) output: Option<String>,
    pub(crate) error: Option<String>,
}

impl End {
    /// What the model of the run above is told.
    pub(crate) fn answer(self) -> Answer {
        let output = self.output.unwrap_or_default();
        if self.status == RunStatus::Succeeded.as_str() {
            return Answer::ok(output);
        }
        let error = self.error.map(|error| format!(": {error}")).unwrap_or_default();
        let said = if output.is_empty() { output } else { format!("\nIt had said: {output}") };
        let how = match self.status.as_str() {
            "timed_out" => "has run out of time",
            "cancelled" => "was cancelled",
            _ => "has failed",
        };
        Answer::error(format!("the agent's run {how}{error}{said}"))
    }
}

/// How a run ended; none while it goes on.
pub(crate) async fn end(tx: &mut TenantTx, run: RunId) -> Result<Option<End>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_as!(
        End,
        "select status, output, error from engine.run
         where tenant_id = $1 and run_id = $2 and finish_reason is not null",
        tenant as _,
        run as _,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// The run above, if there is one that can still be told something.
pub(crate) async fn parent(tx: &mut TenantTx, run: RunId) -> Result<Option<RunId>, sqlx::Error> {
    let tenant = tx.tenant();
    let parent = sqlx::query_scalar!(
        r#"select parent_run_id as "parent: RunId" from engine.run
           where tenant_id = $1 and run_id = $2 and parent_call_id is not null"#,
        tenant as _,
        run as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(parent.flatten())
}

/// The runs that work for calls of this one and have not ended, in the order in which several are locked.
pub(crate) async fn under_way(tx: &mut TenantTx, run: RunId) -> Result<Vec<RunId>, sqlx::Error> {
    let tenant = tx.tenant();
    sqlx::query_scalar!(
        r#"select run_id as "run: RunId" from engine.run
           where tenant_id = $1 and parent_run_id = $2 and finish_reason is null order by run_id"#,
        tenant as _,
        run as _,
    )
    .fetch_all(&mut **tx)
    .await
}

/// The same, each with the call that it works for. The run above is held first: of runs that are
/// just being made for it, none is missed.
pub(crate) async fn all_under_way(
    tx: &mut TenantTx,
    run: RunId,
) -> Result<Vec<(RunId, String)>, sqlx::Error> {
    let tenant = tx.tenant();
    run::hold(tx, run).await?;
    let rows = sqlx::query!(
        r#"select run_id as "run: RunId", parent_call_id as "call!" from engine.run
           where tenant_id = $1 and parent_run_id = $2 and parent_call_id is not null and finish_reason is null
           order by run_id"#,
        tenant as _,
        run as _,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.run, row.call)).collect())
}

/// Holds a run that is about to have another one work for it: it does not end before that one is there, and [`all_under_way`]
/// waits for it. False when the run is no longer this worker's.
pub(crate) async fn hold_above(
    tx: &mut TenantTx,
    run: RunId,
    worker: WorkerId,
) -> Result<bool, sqlx::Error> {
    let tenant = tx.tenant();
    let held = sqlx::query_scalar!(
        "select run_id from engine.run
         where tenant_id = $1 and run_id = $2 and worker_id = $3 and status = 'running' for share",
        tenant as _,
        run as _,
        worker as _,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(held.is_some())
}
