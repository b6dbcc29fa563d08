//! Agents that work together: one after the other, at the same time, by handing over, or for a lead.
//!
//! [`Swarm`], [`ParallelGroup`] and [`SerialGroup`] are run like an agent. Below them is [`step`], a pure function over
//! a serialisable [`SwarmState`] and a plain [`Plan`]: a durable runner drives it from a journal.

mod build;
mod builder;
mod deliver;
mod group;
mod handoff;
mod node;
mod path;
mod plan;
mod run;
mod state;
mod team;
mod tools;
mod workflow;

pub use self::build::{Member, Swarm};
pub use self::builder::SwarmBuilder;
pub use self::group::{ParallelGroup, SerialGroup};
pub use self::path::Path;
pub use self::plan::{AgentPlan, Plan, PlanError, SwarmPlan, Topology, Work};
pub use self::state::{SwarmState, due, step};
