//! Events the engine hears, one file each.

pub(crate) mod credential_events;
pub(crate) mod run_events;
pub(crate) mod trigger_fired;
