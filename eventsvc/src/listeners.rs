//! Events heard, one file each.

pub(crate) mod agent_deleted;
pub(crate) mod bus_events;
pub(crate) mod run_lifecycle;
pub(crate) mod swarm_deleted;
