//! What runs beside requests: one loop per file. Each reads state, never the hint that woke it.

pub(crate) mod bell;
pub(crate) mod budgets;
pub(crate) mod claims;
pub(crate) mod evaluations;
pub(crate) mod grants;
pub(crate) mod heartbeat;
pub(crate) mod questions;
pub(crate) mod reconnects;
pub(crate) mod retention;
pub(crate) mod sweeper;
pub(crate) mod webhooks;
