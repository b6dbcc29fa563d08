//! Putting agents together.

use std::fmt;
use std::sync::Arc;

use shared_models::flow::Flow;

use super::builder::SwarmBuilder;
use super::plan::{self, AgentPlan, Plan, PlanError, SwarmPlan, Topology, Work};
use crate::agent::Agent;
use crate::conversation::Conversation;

/// Agents that work together, under one name. Immutable once built, and cheap to clone.
///
/// ```
/// use agentcore::{Agent, Swarm, run};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let agent = |name: &str| Agent::builder(name).model("sim:echo").build();
/// let swarm = Swarm::builder()
///     .agents([agent("research")?, agent("facts")?, agent("style")?])
///     .flow("research >> (facts | style)")
///     .build()?;
///
/// assert_eq!(run(&swarm, "Ants").await?.output, "Ants\n\nAnts");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Swarm {
    pub(super) inner: Arc<Inner>,
}

#[derive(Clone)]
pub(super) struct Inner {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) members: Vec<Member>,
    pub(super) shape: Shape,
    pub(super) max_steps: u32,
}

#[derive(Clone)]
pub(super) enum Shape {
    Workflow { order: Order, separator: String },
    Handoff { max_handoffs: u32 },
    Team,
}

#[derive(Clone)]
pub(super) enum Order {
    Listed,
    Flow(Flow),
    AllAtOnce,
}

/// Whoever may work in a swarm: an agent, or a group or swarm in its place.
///
/// ```
/// use agentcore::{Agent, Member, SerialGroup, Swarm};
///
/// let agent = |name: &str| Agent::builder(name).model("sim:echo").build();
/// let group = SerialGroup::new("line", [agent("a")?, agent("b")?]);
/// let swarm = Swarm::builder().agents([Member::from(agent("first")?), group.into()]).build()?;
/// let names: Vec<&str> = swarm.members().iter().map(Member::name).collect();
/// assert_eq!(names, ["first", "line"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub enum Member {
    Agent(Agent),
    Swarm(Swarm),
}

impl Swarm {
    /// Between outputs that are joined, unless told otherwise.
    pub const SEPARATOR: &str = "\n\n";

    pub fn builder() -> SwarmBuilder {
        SwarmBuilder::new()
    }

    /// Members in the order of a list, not checked yet.
    pub(super) fn group(
        name: String,
        members: Vec<Member>,
        order: Order,
        separator: String,
    ) -> Self {
        let shape = Shape::Workflow { order, separator };
        let (description, max_steps) = (String::new(), SwarmPlan::DEFAULT_MAX_STEPS);
        Self { inner: Arc::new(Inner { name, description, members, shape, max_steps }) }
    }

    pub fn name(&self) -> &str {
        &self.inner.name
    }

    pub fn members(&self) -> &[Member] {
        &self.inner.members
    }

    /// The same swarm under another name, by which a swarm around it knows it.
    #[must_use]
    pub fn named(&self, name: impl Into<String>) -> Self {
        let inner = Inner { name: name.into(), ..(*self.inner).clone() };
        Self { inner: Arc::new(inner) }
    }

    /// What it is, as plain data; conversations begin without instructions, which a run adds. Also says what keeps it
    /// from working.
    pub fn plan(&self) -> Result<Plan, PlanError> {
        let plan = self.plan_with(&|_| Ok::<_, PlanError>(Conversation::new("")))?;
        plan.check()?;
        self.check_tools(&plan)?;
        Ok(plan)
    }

    pub(super) fn plan_with<E: From<PlanError>>(
        &self,
        opening: &dyn Fn(&Agent) -> Result<Conversation, E>,
    ) -> Result<Plan, E> {
        let Inner { name, description, members, shape, max_steps } = &*self.inner;
        let members = members
            .iter()
            .map(|member| member.plan_with(opening))
            .collect::<Result<Vec<_>, E>>()?;
        let topology = shape.topology(&members)?;
        let work = Work::Swarm(SwarmPlan { members, topology, max_steps: *max_steps });
        Ok(Plan { name: name.clone(), description: description.clone(), work })
    }

    /// No tool of an agent's own may have the name of one that the swarm gives it.
    fn check_tools(&self, plan: &Plan) -> Result<(), PlanError> {
        let Work::Swarm(plan) = &plan.work else { return Ok(()) };
        for (member, of) in self.inner.members.iter().zip(&plan.members) {
            match member {
                Member::Swarm(swarm) => swarm.check_tools(of)?,
                Member::Agent(agent) => {
                    let given = plan.tools_for(agent.name());
                    let own = |name: &str| agent.tool_specs().any(|own| own.name == name);
                    if let Some(tool) = given.into_iter().find(|tool| own(&tool.name)) {
                        let agent = agent.name().to_owned();
                        return Err(PlanError::ToolClash { agent, tool: tool.name });
                    }
                }
            }
        }
        Ok(())
    }
}

impl Shape {
    fn topology(&self, members: &[Plan]) -> Result<Topology, PlanError> {
        let names = || members.iter().map(|member| member.name.as_str());
        plan::names(members)?;
        let flow = match self {
            Self::Handoff { max_handoffs } => {
                return Ok(Topology::Handoff { max_handoffs: *max_handoffs });
            }
            Self::Team => return Ok(Topology::Team),
            Self::Workflow { order: Order::Flow(flow), .. } => flow.clone(),
            Self::Workflow { order: Order::Listed, .. } => Flow::in_order(names())?,
            Self::Workflow { order: Order::AllAtOnce, .. } => Flow::all_at_once(names())?,
        };
        let separator = match self {
            Self::Workflow { separator, .. } => separator.clone(),
            Self::Handoff { .. } | Self::Team => String::new(),
        };
        Ok(Topology::Workflow { flow, separator })
    }
}

impl Member {
    pub fn name(&self) -> &str {
        match self {
            Self::Agent(agent) => agent.name(),
            Self::Swarm(swarm) => swarm.name(),
        }
    }

    fn plan_with<E: From<PlanError>>(
        &self,
        opening: &dyn Fn(&Agent) -> Result<Conversation, E>,
    ) -> Result<Plan, E> {
        let agent = match self {
            Self::Agent(agent) => agent,
            Self::Swarm(swarm) => return swarm.plan_with(opening),
        };
        let handoffs = agent.handoffs().iter().map(|to| to.name().to_owned()).collect();
        let work = Work::Agent(Box::new(AgentPlan { opening: opening(agent)?, handoffs }));
        Ok(Plan { name: agent.name().to_owned(), description: String::new(), work })
    }
}

impl From<Agent> for Member {
    fn from(agent: Agent) -> Self {
        Self::Agent(agent)
    }
}

impl From<&Agent> for Member {
    fn from(agent: &Agent) -> Self {
        Self::Agent(agent.clone())
    }
}

impl From<Swarm> for Member {
    fn from(swarm: Swarm) -> Self {
        Self::Swarm(swarm)
    }
}

impl From<&Swarm> for Member {
    fn from(swarm: &Swarm) -> Self {
        Self::Swarm(swarm.clone())
    }
}

impl fmt::Debug for Swarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.members().iter().map(Member::name).collect();
        write!(f, "Swarm({}: {})", self.name(), names.join(", "))
    }
}
