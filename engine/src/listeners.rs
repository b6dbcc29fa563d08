//! Events the engine hears, one file each.

pub(crate) mod trigger_fired;
