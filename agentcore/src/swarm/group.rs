//! Groups: the two simplest swarms, which cannot be put together wrongly but for their names.

use super::build::{Member, Order, Swarm};

/// Members that work at the same time on the same input. Their outputs are joined in the order of the list.
///
/// ```
/// use agentcore::{Agent, ParallelGroup, run};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let agent = |name: &str| Agent::builder(name).model("sim:echo").build();
/// let both = ParallelGroup::new("both", [agent("one")?, agent("two")?]).separator(" and ");
///
/// assert_eq!(run(&both, "me").await?.output, "me and me");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ParallelGroup {
    pub(super) swarm: Swarm,
}

impl ParallelGroup {
    pub fn new<M: Into<Member>>(
        name: impl Into<String>,
        agents: impl IntoIterator<Item = M>,
    ) -> Self {
        let members = agents.into_iter().map(Into::into).collect();
        let separator = Swarm::SEPARATOR.into();
        Self { swarm: Swarm::group(name.into(), members, Order::AllAtOnce, separator) }
    }

    /// Between the outputs.
    #[must_use]
    pub fn separator(self, separator: impl Into<String>) -> Self {
        let (name, members) = (self.swarm.name().to_owned(), self.swarm.members().to_vec());
        Self { swarm: Swarm::group(name, members, Order::AllAtOnce, separator.into()) }
    }
}

/// Members that work one after the other: each output is the next input.
///
/// ```
/// use agentcore::{Agent, SerialGroup, run_blocking};
///
/// let agent = |name: &str| Agent::builder(name).model("sim:echo").build();
/// let line = SerialGroup::new("line", [agent("a")?, agent("b")?]);
/// assert_eq!(run_blocking(&line, "Hello")?.steps, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct SerialGroup {
    pub(super) swarm: Swarm,
}

impl SerialGroup {
    pub fn new<M: Into<Member>>(
        name: impl Into<String>,
        agents: impl IntoIterator<Item = M>,
    ) -> Self {
        let members = agents.into_iter().map(Into::into).collect();
        let separator = Swarm::SEPARATOR.into();
        Self { swarm: Swarm::group(name.into(), members, Order::Listed, separator) }
    }
}

impl From<ParallelGroup> for Member {
    fn from(group: ParallelGroup) -> Self {
        Self::Swarm(group.swarm)
    }
}

impl From<&ParallelGroup> for Member {
    fn from(group: &ParallelGroup) -> Self {
        Self::Swarm(group.swarm.clone())
    }
}

impl From<SerialGroup> for Member {
    fn from(group: SerialGroup) -> Self {
        Self::Swarm(group.swarm)
    }
}

impl From<&SerialGroup> for Member {
    fn from(group: &SerialGroup) -> Self {
        Self::Swarm(group.swarm.clone())
    }
}
