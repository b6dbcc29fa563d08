//! What a swarm is, without anything that runs: plain data, so that a run can be started from it, kept and replayed.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use shared_models::flow::{Flow, FlowError, FlowErrorKind, is_member_name};

use super::path::{Path, member_of};
use super::tools::{self, Target};
use crate::conversation::Conversation;
use crate::tool::ToolSpec;

/// An agent, or members that work together in its place.
///
/// ```
/// use agentcore::swarm::{AgentPlan, Plan, SwarmPlan, Topology, Work};
/// use agentcore::Conversation;
///
/// let agent = AgentPlan { opening: Conversation::new("Be brief."), handoffs: Vec::new() };
/// let work = Work::Agent(Box::new(agent));
/// let lead = Plan { name: "lead".into(), description: String::new(), work };
/// let team = SwarmPlan { members: vec![lead], topology: Topology::Team, max_steps: 10 };
/// let team = Plan { name: "team".into(), description: String::new(), work: Work::Swarm(team) };
///
/// assert_eq!(team.check(), Ok(()));
/// assert_eq!(team.agents().len(), 1);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub name: String,
    /// Tells those who may pass work on what this one is for.
    #[serde(default)]
    pub description: String,
    pub work: Work,
}

/// Who does the work of a plan.
///
/// ```
/// use agentcore::swarm::{Plan, Work};
/// use agentcore::{Agent, Swarm};
///
/// let agent = Agent::builder("a").model("sim:echo").build()?;
/// let Plan { work, .. } = Swarm::builder().agents([agent]).build()?.plan()?;
/// assert!(matches!(work, Work::Swarm(swarm) if matches!(swarm.members[0].work, Work::Agent(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    Agent(Box<AgentPlan>),
    Swarm(SwarmPlan),
}

/// One agent of a plan.
///
/// ```
/// use agentcore::Conversation;
/// use agentcore::swarm::AgentPlan;
///
/// let agent = AgentPlan { opening: Conversation::new("Be brief.").with_max_steps(3), handoffs: vec!["billing".into()] };
/// let kept = serde_json::to_string(&agent)?;
/// assert_eq!(serde_json::from_str::<AgentPlan>(&kept)?, agent);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentPlan {
    /// How a conversation with it begins: instructions and limits.
    pub opening: Conversation,
    /// The members it may transfer control to.
    #[serde(default)]
    pub handoffs: Vec<String>,
}

/// Members that work together.
///
/// ```
/// use agentcore::swarm::{SwarmPlan, Topology};
///
/// let empty = SwarmPlan { members: Vec::new(), topology: Topology::Team, max_steps: SwarmPlan::DEFAULT_MAX_STEPS };
/// assert!(empty.member("nobody").is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SwarmPlan {
    pub members: Vec<Plan>,
    pub topology: Topology,
    /// Once its members have had this many model replies, no further model call begins.
    pub max_steps: u32,
}

/// How members work together.
///
/// ```
/// use agentcore::swarm::Topology;
///
/// let topology = Topology::Handoff { max_handoffs: 10 };
/// assert_eq!(serde_json::to_value(topology)?["mode"], "handoff");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum Topology {
    /// Members that the flow does not name do not work.
    Workflow {
        flow: Flow,
        /// Between the outputs of members that worked at the same time.
        separator: String,
    },
    Handoff {
        max_handoffs: u32,
    },
    Team,
}

/// What keeps a plan from working.
///
/// ```
/// use agentcore::Swarm;
/// use agentcore::swarm::PlanError;
///
/// assert_eq!(Swarm::builder().build().err(), Some(PlanError::NoMembers));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("a swarm needs members")]
    NoMembers,
    #[error(
        "`{0}` is no name for a member: leave out `>`, `|`, `(`, `)`, `/`, `#` and outer spaces"
    )]
    MemberName(String),
    #[error("two members are called `{0}`")]
    DuplicateMember(String),
    #[error("the flow is wrong at {0}")]
    Flow(#[from] FlowError),
    #[error("`{agent}` may hand off to `{target}`, which is not in the swarm")]
    UnknownHandoff { agent: String, target: String },
    #[error("`{0}` leads the team and must be an agent: a group cannot delegate")]
    Lead(String),
    #[error("`{agent}` has a tool `{tool}` of its own, which the swarm needs for itself")]
    ToolClash { agent: String, tool: String },
    #[error("`max_steps` must be at least 1")]
    NoSteps,
    #[error("swarms within swarms go {} deep at most", Plan::DEEPEST)]
    TooDeep,
}

impl Plan {
    /// More levels than anybody can follow.
    pub const DEEPEST: usize = 16;

    /// Whether it can be run. Everything else here relies on it, and does nothing useful with a plan that fails.
    pub fn check(&self) -> Result<(), PlanError> {
        self.check_at(0)
    }

    fn check_at(&self, depth: usize) -> Result<(), PlanError> {
        match &self.work {
            _ if depth > Self::DEEPEST => Err(PlanError::TooDeep),
            Work::Agent(_) => Ok(()),
            Work::Swarm(swarm) => {
                swarm.check()?;
                swarm.members.iter().try_for_each(|member| member.check_at(depth + 1))
            }
        }
    }

    /// The agent or swarm at a path, and the swarm it works in.
    pub fn find(&self, path: &Path) -> Option<(&Plan, Option<&SwarmPlan>)> {
        let (mut found, mut within) = (self, None);
        for segment in path.segments() {
            // Workers are below their lead, in the same swarm as it.
            let swarm = match (&found.work, within) {
                (Work::Swarm(swarm), _) | (Work::Agent(_), Some(swarm)) => swarm,
                (Work::Agent(_), None) => return None,
            };
            (found, within) = (swarm.member(member_of(segment))?, Some(swarm));
        }
        Some((found, within))
    }

    /// The tools the agent at a path has because of its place: `transfer_to_…` or `delegate_to_…`. The model is shown
    /// them beside its own; calls of them never reach a driver.
    pub fn tools_at(&self, path: &Path) -> Vec<ToolSpec> {
        match self.find(path) {
            Some((plan, Some(swarm))) => swarm.tools_for(&plan.name),
            Some((_, None)) | None => Vec::new(),
        }
    }

    /// Every agent in it, in order, with the swarm it works in.
    pub fn agents(&self) -> Vec<(&Plan, Option<&SwarmPlan>)> {
        fn walk<'a>(
            plan: &'a Plan,
            within: Option<&'a SwarmPlan>,
            found: &mut Vec<(&'a Plan, Option<&'a SwarmPlan>)>,
        ) {
            match &plan.work {
                Work::Agent(_) => found.push((plan, within)),
                Work::Swarm(swarm) => {
                    swarm.members.iter().for_each(|member| walk(member, Some(swarm), found));
                }
            }
        }
        let mut found = Vec::new();
        walk(self, None, &mut found);
        found
    }
}

impl SwarmPlan {
    pub const DEFAULT_MAX_HANDOFFS: u32 = 10;
    pub const DEFAULT_MAX_STEPS: u32 = 200;

    pub fn member(&self, name: &str) -> Option<&Plan> {
        self.members.iter().find(|member| member.name == name)
    }

    /// The tools a member has because of its place in this swarm.
    pub fn tools_for(&self, member: &str) -> Vec<ToolSpec> {
        self.targets(member).iter().map(|target| target.spec(&self.topology)).collect()
    }

    /// Whom a member may pass work to, and by which tool.
    pub(super) fn targets(&self, member: &str) -> Vec<Target<'_>> {
        match (&self.topology, self.member(member).map(|plan| &plan.work)) {
            (Topology::Handoff { .. }, Some(Work::Agent(agent))) => {
                let targets = agent.handoffs.iter().filter_map(|name| self.member(name));
                tools::targets("transfer_to_", targets)
            }
            (Topology::Team, _) if self.leads(member) => {
                tools::targets("delegate_to_", self.members.iter().skip(1))
            }
            _ => Vec::new(),
        }
    }

    fn leads(&self, member: &str) -> bool {
        self.members.first().is_some_and(|lead| lead.name == member)
    }

    fn check(&self) -> Result<(), PlanError> {
        let names = names(&self.members)?;
        let lead = self.members.first().ok_or(PlanError::NoMembers)?;
        if self.max_steps == 0 {
            return Err(PlanError::NoSteps);
        }
        match &self.topology {
            Topology::Workflow { flow, .. } => check_flow(flow, &names),
            Topology::Handoff { .. } => self.check_handoffs(&names),
            Topology::Team if matches!(lead.work, Work::Swarm(_)) => {
                Err(PlanError::Lead(lead.name.clone()))
            }
            Topology::Team => Ok(()),
        }
    }

    fn check_handoffs(&self, names: &HashSet<&str>) -> Result<(), PlanError> {
        for member in &self.members {
            let Work::Agent(agent) = &member.work else { continue };
            if let Some(target) = agent.handoffs.iter().find(|name| !names.contains(name.as_str()))
            {
                let (agent, target) = (member.name.clone(), target.clone());
                return Err(PlanError::UnknownHandoff { agent, target });
            }
        }
        Ok(())
    }
}

/// The names of members that can be told apart.
pub(super) fn names(members: &[Plan]) -> Result<HashSet<&str>, PlanError> {
    let mut names = HashSet::new();
    for Plan { name, .. } in members {
        if !is_member_name(name) {
            return Err(PlanError::MemberName(name.clone()));
        }
        if !names.insert(name.as_str()) {
            return Err(PlanError::DuplicateMember(name.clone()));
        }
    }
    if names.is_empty() { Err(PlanError::NoMembers) } else { Ok(names) }
}

/// A flow that was read for other members has lost its columns: its text is read again for these.
fn check_flow(flow: &Flow, names: &HashSet<&str>) -> Result<(), PlanError> {
    match flow.names().find(|name| !names.contains(name)) {
        None => Ok(()),
        Some(unknown) => {
            let again = Flow::parse_for(&flow.to_string(), |name| names.contains(name)).err();
            let kind = FlowErrorKind::UnknownName(unknown.to_owned());
            Err(PlanError::Flow(again.unwrap_or(FlowError { column: 1, kind })))
        }
    }
}
