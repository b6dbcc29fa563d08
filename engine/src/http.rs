//! The API, one file per verb on a noun.

pub(crate) mod edge;
mod run_view;
pub(crate) mod runs;
