use std::collections::{BTreeMap, HashMap};

use agentcore::swarm::{Path as Place, due};
use agentcore::{Command, Conversation, FinishReason, Status};
use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use dbutil::TenantTx;
use serde::Serialize;
use servicekit::{Caller, Path, Problem, scope::RunsRead};
use shared_models::{
    AgentId, MicroUsd, ProblemBody, RunId, RunMode, RunStatus, SwarmId, Usage, WaitReason,
};
use utoipa::ToSchema;

use super::visible;
use crate::app::App;
use crate::call_key;
use crate::error::Error;
use crate::store::child::{self, Node};
use crate::transcript;

/// A run, and the runs that work for it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TreeNode {
    run_id: RunId,
    /// The member of a swarm whose call started it; empty below an agent's run.
    parent_path: Vec<String>,
    /// The call that started it; none for the run that was asked for.
    parent_call_id: Option<String>,
    agent_id: AgentId,
    agent_name: String,
    /// For a run of a swarm; the agent is then the member that begins.
    swarm_id: Option<SwarmId>,
    swarm_name: Option<String>,
    status: RunStatus,
    /// What a dry run has done has not happened.
    mode: RunMode,
    wait_reason: Option<WaitReason>,
    /// Its own, without those below.
    usage: Usage,
    cost_micro_usd: MicroUsd,
    steps: i32,
    #[serde(serialize_with = "shared_models::wire_time::time")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "shared_models::wire_time::maybe")]
    finished_at: Option<DateTime<Utc>>,
    /// Who has worked in a swarm so far, in the order in which they began at each place. Empty for an agent's run, and
    /// when what was said has been forgotten.
    members: Vec<MemberNode>,
    #[schema(no_recursion)]
    children: Vec<TreeNode>,
}

/// One time that a member of a swarm works.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MemberNode {
    /// From the outermost member inwards; the second time somebody works at a place they are called `name#2`.
    path: Vec<String>,
    agent_id: Option<AgentId>,
    agent_name: Option<String>,
    /// As it was when the run began.
    agent_version: Option<i32>,
    status: MemberStatus,
    /// How it ended.
    #[schema(value_type = Option<String>)]
    finish_reason: Option<FinishReason>,
    steps: u32,
    usage: Usage,
}

/// Where a member's work stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MemberStatus {
    /// Its model is asked, or its tools are called.
    Working,
    /// All it waits for comes from outside, or from members it has given work to.
    Waiting,
    Succeeded,
    Failed,
    /// Given up, because the work it belongs to had ended.
    Cancelled,
}

/// See a run with all runs that work for it, at every depth, and with the members of swarms. At most 1000 runs; members of
/// the first 32 swarms.
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
    let mut members = HashMap::new();
    for node in nodes.iter().filter(|node| node.swarm_id.is_some()).take(MOST_SWARMS) {
        members.insert(node.run, at_work(&mut tx, node).await?);
    }
    drop(tx);
    grown(run_id, nodes, members).map(Json).ok_or_else(|| Error::RunNotFound(run_id).into())
}

/// Each of them is read back from its journal.
const MOST_SWARMS: usize = 32;

async fn at_work(tx: &mut TenantTx, node: &Node) -> Result<Vec<MemberNode>, Error> {
    let (snapshot, told) = match transcript::read(tx, node.run, node.root).await {
        Ok(read) => read,
        Err(Error::RunPruned(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let due = due(&told.plan, &told.state);
    let works = |path: &Place| {
        let open = |call: &str| told.members.get(path).is_none_or(|told| told.is_open(call));
        due.iter().filter(|(at, _)| at == path).any(|(_, command)| match command {
            Command::CallTools(calls) => calls.iter().any(|call| open(&call.id)),
            _ => true,
        })
    };
    let node = |(path, conversation): (Place, &Conversation)| {
        let agent = snapshot.swarm.as_ref().and_then(|swarm| swarm.agent_at(&told.plan, &path));
        MemberNode {
            agent_id: agent.map(|agent| agent.agent_id),
            agent_name: agent.map(|agent| agent.agent_name.clone()),
            agent_version: agent.map(|agent| agent.agent_version),
            status: status(&conversation.status, works(&path)),
            finish_reason: conversation.outcome().map(|outcome| outcome.finish_reason),
            steps: conversation.steps,
            usage: conversation.usage,
            path: path.segments().to_vec(),
        }
    };
    Ok(told.state.conversations().into_iter().map(node).collect())
}

fn status(status: &Status, works: bool) -> MemberStatus {
    match status {
        Status::Finished(outcome) => match outcome.finish_reason {
            FinishReason::Stop | FinishReason::MaxSteps => MemberStatus::Succeeded,
            FinishReason::Cancelled => MemberStatus::Cancelled,
            FinishReason::LoopDetected | FinishReason::Error => MemberStatus::Failed,
        },
        _ if works => MemberStatus::Working,
        _ => MemberStatus::Waiting,
    }
}

/// Puts each node under its parent. A child is made after its parent, so the last ones come first.
fn grown(
    root: RunId,
    nodes: Vec<Node>,
    mut members: HashMap<RunId, Vec<MemberNode>>,
) -> Option<TreeNode> {
    let mut children: BTreeMap<uuid::Uuid, Vec<TreeNode>> = BTreeMap::new();
    for node in nodes.into_iter().rev() {
        let (id, parent) = (node.run, node.parent);
        let mut below = children.remove(&id.uuid()).unwrap_or_default();
        below.reverse();
        let key = node.parent_call_id.filter(|_| id != root);
        let call = key.as_deref().map(call_key::split);
        let grown = TreeNode {
            run_id: id,
            parent_path: call.map(|(path, _)| call_key::names(path)).unwrap_or_default(),
            parent_call_id: call.map(|(_, call_id)| call_id.to_owned()),
            agent_id: node.agent_id,
            agent_name: node.agent_name,
            swarm_id: node.swarm_id,
            swarm_name: node.swarm_name,
            status: node.status.parse().unwrap_or(RunStatus::Failed),
            mode: node.mode.parse().unwrap_or(RunMode::Dry),
            wait_reason: node.wait_reason.and_then(|reason| reason.parse().ok()),
            usage: serde_json::from_value(node.usage).unwrap_or_default(),
            cost_micro_usd: MicroUsd(node.cost_micro_usd),
            steps: node.steps,
            created_at: node.created_at,
            finished_at: node.finished_at,
            members: members.remove(&id).unwrap_or_default(),
            children: below,
        };
        if id == root {
            return Some(grown);
        }
        children.entry(parent?.uuid()).or_default().push(grown);
    }
    None
}
