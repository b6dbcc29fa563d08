use std::collections::BTreeMap;

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use servicekit::{Caller, Path, Problem, scope::RunsRead};
use shared_models::{AgentId, MicroUsd, ProblemBody, RunId, RunStatus, Usage, WaitReason};
use utoipa::ToSchema;

use super::visible;
use crate::app::App;
use crate::store::child::{self, Node};

/// A run, and the runs that work for it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TreeNode {
    run_id: RunId,
    /// The call that started it; none for the run that was asked for.
    parent_call_id: Option<String>,
    agent_id: AgentId,
    agent_name: String,
    status: RunStatus,
    wait_reason: Option<WaitReason>,
    /// Its own, without those below.
    usage: Usage,
    cost_micro_usd: MicroUsd,
    steps: i32,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "shared_models::wire_time::maybe")]
    finished_at: Option<DateTime<Utc>>,
    #[schema(no_recursion)]
    children: Vec<TreeNode>,
}

/// See a run with all runs that work for it, at every depth. At most 1000 of them.
#[utoipa::path(get, path = "/v1/runs/{run_id}/tree", tag = "runs", security(("token" = ["runs:read"])),
    params(("run_id" = RunId, Path)),
    responses((status = 200, body = TreeNode), (status = "default", body = ProblemBody)))]
pub(crate) async fn get_run_tree(
    State(app): State<App>,
    caller: Caller<RunsRead>,
    Path(run_id): Path<RunId>,
) -> Result<Json<TreeNode>, Problem> {
    let mut tx = app.db.begin(caller.tenant).await?;
    visible(&mut tx, &caller, run_id).await?;
    let nodes = child::tree(&mut tx, run_id).await?;
    grown(run_id, nodes).map(Json).ok_or_else(|| crate::error::Error::RunNotFound(run_id).into())
}

/// Puts each node under its parent. A child is made after its parent, so the last ones come first.
fn grown(root: RunId, nodes: Vec<Node>) -> Option<TreeNode> {
    let mut children: BTreeMap<uuid::Uuid, Vec<TreeNode>> = BTreeMap::new();
    for node in nodes.into_iter().rev() {
        let (id, parent) = (node.run, node.parent);
        let mut below = children.remove(&id.uuid()).unwrap_or_default();
        below.reverse();
        let grown = TreeNode {
            run_id: id,
            parent_call_id: node.parent_call_id.filter(|_| id != root),
            agent_id: node.agent_id,
            agent_name: node.agent_name,
            status: node.status.parse().unwrap_or(RunStatus::Failed),
            wait_reason: node.wait_reason.and_then(|reason| reason.parse().ok()),
            usage: serde_json::from_value(node.usage).unwrap_or_default(),
            cost_micro_usd: MicroUsd(node.cost_micro_usd),
            steps: node.steps,
            created_at: node.created_at,
            finished_at: node.finished_at,
            children: below,
        };
        if id == root {
            return Some(grown);
        }
        children.entry(parent?.uuid()).or_default().push(grown);
    }
    None
}
