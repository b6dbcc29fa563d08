//! The API, one file per verb on a noun.

pub(crate) mod approvals;
pub(crate) mod budgets;
pub(crate) mod callbacks;
pub(crate) mod cases;
pub(crate) mod conversations;
pub(crate) mod edge;
pub(crate) mod evaluations;
pub(crate) mod models;
pub(crate) mod openai;
mod run_view;
pub(crate) mod runs;
pub(crate) mod settings;
pub(crate) mod swarms;
pub(crate) mod webhooks;
