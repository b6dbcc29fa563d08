//! What a run starts with, and what resumes: the agent and its tools as they were at that moment.

use agentcore::swarm::{Path, Plan, Work};
use agentcore::{Message, Window};
use dbutil::TenantTx;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared_models::{
    AgentId, AgentScope, AgentStatus, ConversationId, CredentialId, Effect, SwarmId, TeamId,
    ToolId, ToolKind, UserId,
};

use crate::{
    approvals::Rule,
    budgets::RunCap,
    definition::{AgentFields, Budget, Limits},
    error::Error,
    fork::Fork,
    hooks::Hook,
    models::{self, Bound, Models},
    probe::Probe,
    replay::Replay,
    store,
    template::Variables,
    transcript,
    visibility::Viewer,
};

/// Kept with the run, so every new field needs a default. Holds ids of credentials, never a secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunSnapshot {
    pub(crate) agent_id: AgentId,
    pub(crate) agent_version: i32,
    pub(crate) agent_name: String,
    pub(crate) owner: UserId,
    pub(crate) scope: AgentScope,
    pub(crate) team_id: Option<TeamId>,
    /// As it was; only active agents start runs.
    pub(crate) status: AgentStatus,
    /// With the persona in force before them, and filled in once there is a run.
    pub(crate) instructions: String,
    /// What was said for the instructions when the run was started.
    #[serde(default, skip_serializing_if = "Variables::is_empty")]
    pub(crate) variables: Variables,
    pub(crate) model: String,
    pub(crate) fallback_model: Option<String>,
    pub(crate) model_credential: Option<CredentialId>,
    pub(crate) temperature: f32,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) max_steps: u32,
    #[serde(default)]
    pub(crate) limits: Limits,
    /// What the run may use up: as its agent says, or less.
    #[serde(default, skip_serializing_if = "Budget::is_empty")]
    pub(crate) budget: Budget,
    /// The budgets of the runs that it works for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) above: Vec<RunCap>,
    /// What the answer must fit.
    #[serde(default)]
    pub(crate) output_schema: Option<Value>,
    /// What the names of its models stood for. Empty in runs of old: theirs are resolved when they are asked.
    #[serde(default)]
    pub(crate) models: Vec<Bound>,
    /// Why one of them is not enabled: then no run starts.
    #[serde(skip)]
    pub(crate) unavailable: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) hooks: Vec<Hook>,
    /// When people are asked before a tool is called, whichever it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) approvals: Vec<Rule>,
    /// What was said before the run's own input.
    #[serde(default)]
    pub(crate) history: Vec<Message>,
    /// What it is told of the conversation it is a part of. Takes the place of `history` when the snapshot is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) recalled: Option<Recalled>,
    /// By priority, then name.
    pub(crate) tools: Vec<SnapshotTool>,
    /// What tools are answered with instead of being called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replay: Option<Box<Replay>>,
    /// For a run that goes on from where another one stood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fork: Option<Box<Fork>>,
    /// For a run of a swarm. The rest is then what the swarm itself is, and the agent is the member that begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) swarm: Option<Box<SwarmSnapshot>>,
}

/// A swarm as a run starts it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SwarmSnapshot {
    pub(crate) swarm_id: SwarmId,
    pub(crate) version: i32,
    pub(crate) name: String,
    /// Its conversations have no instructions and limits: those are the agents'.
    pub(crate) plan: Plan,
    /// In the order of the plan's agents.
    pub(crate) members: Vec<RunSnapshot>,
}

impl SwarmSnapshot {
    /// The plan, with each conversation as its agent begins it.
    pub(crate) fn opened(&self) -> Plan {
        let mut plan = self.plan.clone();
        open(&mut plan, &mut self.members.iter());
        plan
    }

    /// Who works at a path of its plan.
    pub(crate) fn agent_at(&self, plan: &Plan, path: &Path) -> Option<&RunSnapshot> {
        self.members.get(Self::place(plan, path)?)
    }

    /// Where whoever works at a path is among the agents of a plan, in their order.
    pub(crate) fn place(plan: &Plan, path: &Path) -> Option<usize> {
        let (found, _) = plan.find(path)?;
        plan.agents().iter().position(|(agent, _)| std::ptr::eq(*agent, found))
    }
}

fn open<'a>(plan: &mut Plan, agents: &mut impl Iterator<Item = &'a RunSnapshot>) {
    match &mut plan.work {
        Work::Agent(agent) => {
            if let Some(snapshot) = agents.next() {
                agent.opening = transcript::opening(snapshot);
            }
        }
        Work::Swarm(swarm) => swarm.members.iter_mut().for_each(|member| open(member, agents)),
    }
}

/// Messages of a conversation, from the first number to before the second. No range as long as the run waits for its turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recalled {
    pub(crate) conversation_id: ConversationId,
    pub(crate) range: Option<(i64, i64)>,
    /// What an earlier run has made of those before them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) summary: Option<String>,
}

/// A tool as one agent has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SnapshotTool {
    pub(crate) tool_id: ToolId,
    pub(crate) version: i32,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) parameters: Value,
    pub(crate) effect: Effect,
    pub(crate) timeout_ms: u32,
    pub(crate) kind: ToolKind,
    /// The tool's configuration with the agent's own merged in.
    pub(crate) config: Value,
    pub(crate) credential_id: Option<CredentialId>,
    /// The only hosts the credential goes to.
    #[serde(default)]
    pub(crate) credential_hosts: Vec<String>,
    /// When people are asked before it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) approval: Option<Rule>,
    /// How it is found out whether a call has happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) probe: Option<Probe>,
}

/// The agent as a run would start with it now, or in one of its versions; none when there is no such agent or version.
/// Tools, owner and status are always those of now, and so are rules for approvals and hooks, besides those of the version.
pub(crate) async fn build(
    tx: &mut TenantTx,
    agent_id: AgentId,
    version: Option<i32>,
) -> Result<Option<RunSnapshot>, Error> {
    let Some(agent) = store::agent::find(tx, agent_id).await? else { return Ok(None) };
    let (version, mut fields) = match version {
        None => (agent.version, agent.fields.clone()),
        Some(version) => match store::agent_version::find(tx, agent_id, version).await? {
            Some(found) => (version, found.fields),
            None => return Ok(None),
        },
    };
    // Nobody gets round what is forbidden now by asking for a version that did not know of it.
    add(&mut fields.approvals, &agent.fields.approvals);
    add(&mut fields.hooks, &agent.fields.hooks);
    let links = store::agent_tool::list(tx, agent_id).await?;
    let tools = links.iter().map(store::agent_tool::Link::resolved).collect::<Result<_, _>>()?;
    let instructions = fields.prompt();
    let AgentFields { model, fallback_model, model_credential_id, output_schema, .. } = fields;
    let names = std::iter::once(&model).chain(&fallback_model);
    let (models, unavailable) = match bind(tx, names, model_credential_id).await? {
        Ok(models) => (models, None),
        Err(why) => (Vec::new(), Some(why)),
    };
    Ok(Some(RunSnapshot {
        agent_id,
        agent_version: version,
        agent_name: agent.fields.name,
        owner: agent.owner,
        scope: agent.fields.scope,
        team_id: agent.fields.team_id,
        status: agent.fields.status,
        instructions,
        variables: Variables::new(),
        model,
        fallback_model,
        model_credential: model_credential_id,
        temperature: fields.temperature as f32,
        max_tokens: fields.max_tokens,
        max_steps: fields.max_steps,
        limits: fields.limits,
        budget: fields.budget,
        above: Vec::new(),
        output_schema,
        models,
        unavailable,
        hooks: fields.hooks,
        approvals: fields.approvals,
        history: Vec::new(),
        recalled: None,
        tools,
        replay: None,
        fork: None,
        swarm: None,
    }))
}

fn add<'a, T: Clone + PartialEq + 'a>(all: &mut Vec<T>, more: impl IntoIterator<Item = &'a T>) {
    for one in more {
        if !all.contains(one) {
            all.push(one.clone());
        }
    }
}

/// The same, if the viewer may see the agent and it may run.
pub(crate) async fn for_viewer(
    tx: &mut TenantTx,
    viewer: &Viewer,
    agent_id: AgentId,
    version: Option<i32>,
) -> Result<RunSnapshot, Error> {
    let found = build(tx, agent_id, version).await?;
    let missing = || version.map_or(Error::AgentNotFound(agent_id), Error::VersionNotFound);
    let found = found.ok_or_else(missing)?;
    if !viewer.sees(found.scope, found.owner, found.team_id) {
        return Err(Error::AgentNotFound(agent_id));
    }
    if found.status != AgentStatus::Active {
        return Err(Error::AgentNotActive(found.status.to_string()));
    }
    Ok(found)
}

/// What the names of the agent's models stand for now, or why one of them is not enabled.
pub(crate) async fn bind(
    tx: &mut TenantTx,
    names: impl Iterator<Item = &String>,
    of_agent: Option<CredentialId>,
) -> Result<Result<Vec<Bound>, String>, Error> {
    let mut bound = Vec::with_capacity(2);
    for name in names {
        match models::bind(tx, name, of_agent).await {
            Ok(model) => bound.push(model),
            Err(Error::ModelUnavailable(why)) => return Ok(Err(why)),
            Err(error) => return Err(error),
        }
    }
    Ok(Ok(bound))
}

impl RunSnapshot {
    /// Binds it by what another run's agent was bound by: its rules, not what was told by HTTP.
    pub(crate) fn bind_as(&mut self, other: &Self) {
        add(&mut self.approvals, &other.approvals);
        add(&mut self.hooks, other.hooks.iter().filter(|hook| hook.rule.is_some()));
    }

    /// Whether the run is not yet to begin, because another one of its conversation is under way.
    pub(crate) fn waits_for_its_turn(&self) -> bool {
        self.recalled.as_ref().is_some_and(|recalled| recalled.range.is_none())
    }

    /// How much its model can read: as the tenant says, or as is known of it.
    pub(crate) fn window(&self) -> Option<Window> {
        let bound = self.models.iter().find(|bound| bound.name == self.model);
        let said = bound.and_then(|bound| bound.context_window).and_then(|n| u64::try_from(n).ok());
        said.map(Window::new).or_else(|| Window::of_model(&self.model))
    }

    /// Whether a run may start with it, as far as its models go.
    pub(crate) fn check_models(&self, models: &Models) -> Result<(), Error> {
        if let Some(why) = &self.unavailable {
            return Err(Error::ModelUnavailable(why.clone()));
        }
        self.models.iter().try_for_each(|bound| models.check_reachable(bound))?;
        let members = self.swarm.iter().flat_map(|swarm| &swarm.members);
        members.into_iter().try_for_each(|member| member.check_models(models))
    }
}
