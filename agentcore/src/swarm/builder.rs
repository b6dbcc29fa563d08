//! How a swarm is put together.

use std::sync::Arc;

use shared_models::flow::{Flow, SwarmMode};

use super::build::{Inner, Member, Order, Shape, Swarm};
use super::plan::{PlanError, SwarmPlan};

/// Puts a swarm together. What is said twice holds as said last; members add up.
///
/// ```
/// use agentcore::{Agent, Swarm, run_blocking};
///
/// let agent = |name: &str| Agent::builder(name).model("sim:echo").build();
/// let swarm = Swarm::builder().agents([agent("a")?, agent("b")?]).flow("(a | b)").separator(" & ").build()?;
/// assert_eq!(run_blocking(&swarm, "me")?.output, "me & me");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SwarmBuilder {
    name: String,
    description: String,
    members: Vec<Member>,
    flow: Option<String>,
    mode: SwarmMode,
    separator: String,
    max_handoffs: u32,
    max_steps: u32,
}

impl SwarmBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: "swarm".into(),
            description: String::new(),
            members: Vec::new(),
            flow: None,
            mode: SwarmMode::Workflow,
            separator: Swarm::SEPARATOR.into(),
            max_handoffs: SwarmPlan::DEFAULT_MAX_HANDOFFS,
            max_steps: SwarmPlan::DEFAULT_MAX_STEPS,
        }
    }

    /// By which a swarm around it knows it; `swarm` unless told otherwise.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Tells those who may pass work on what it is for.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    #[must_use]
    pub fn agent(mut self, agent: impl Into<Member>) -> Self {
        self.members.push(agent.into());
        self
    }

    /// Agents, groups or swarms. The first one begins or leads.
    #[must_use]
    pub fn agents<M: Into<Member>>(mut self, agents: impl IntoIterator<Item = M>) -> Self {
        self.members.extend(agents.into_iter().map(Into::into));
        self
    }

    /// Who works after whom: `a >> (b | c) >> d`; in order of the list without it. Where members pass work on
    /// themselves it only says who comes first.
    #[must_use]
    pub fn flow(mut self, flow: impl Into<String>) -> Self {
        self.flow = Some(flow.into());
        self
    }

    #[must_use]
    pub fn mode(mut self, mode: SwarmMode) -> Self {
        self.mode = mode;
        self
    }

    /// Between the outputs of members that work at the same time.
    #[must_use]
    pub fn separator(mut self, separator: impl Into<String>) -> Self {
        self.separator = separator.into();
        self
    }

    /// How often control may move; 10 unless told otherwise.
    #[must_use]
    pub fn max_handoffs(mut self, max_handoffs: u32) -> Self {
        self.max_handoffs = max_handoffs;
        self
    }

    /// How many model replies all members may have together; 200 unless told otherwise.
    #[must_use]
    pub fn max_steps(mut self, max_steps: u32) -> Self {
        self.max_steps = max_steps;
        self
    }

    pub fn build(mut self) -> Result<Swarm, PlanError> {
        let is_member = |name: &str| self.members.iter().any(|member| member.name() == name);
        let flow = self.flow.map(|text| Flow::parse_for(&text, is_member)).transpose()?;
        let shape = match self.mode {
            SwarmMode::Workflow => {
                let order = flow.map_or(Order::Listed, Order::Flow);
                Shape::Workflow { order, separator: self.separator }
            }
            mode => {
                if let Some(flow) = flow {
                    let place =
                        |member: &Member| flow.names().position(|name| name == member.name());
                    self.members.sort_by_key(|member| place(member).unwrap_or(usize::MAX));
                }
                match mode {
                    SwarmMode::Team => Shape::Team,
                    _ => Shape::Handoff { max_handoffs: self.max_handoffs },
                }
            }
        };
        let Self { name, description, members, max_steps, .. } = self;
        let swarm =
            Swarm { inner: Arc::new(Inner { name, description, members, shape, max_steps }) };
        swarm.plan()?;
        Ok(swarm)
    }
}
