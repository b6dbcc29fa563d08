//! Events heard, one file each.

pub(crate) mod run_lifecycle;
